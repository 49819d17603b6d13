//! Names of containers: which are allowed, and those the engine makes up.

use crate::error::{Error, Result};

/// What a name may be, for messages.
const ALLOWED: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

/// Checks a name as the user wrote it and takes its leading slash away.
pub(crate) fn check(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let mut rest = bytes.len();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    rest -= bytes.take_while(|byte| allowed(*byte)).count();
    // One character alone is too short, as in Docker: the pattern asks for two.
    if !first || rest > 0 || bare.len() < 2 {
        return Err(Error::invalid(format!("Invalid container name ({name}), only {ALLOWED} are allowed")));
    }
    Ok(bare)
}

/// A name made up from random bits: `adjective_surname`, with a digit from the second attempt on.
pub(crate) fn generate(random: u64, attempt: u32) -> String {
    let left = LEFT[(random % LEFT.len() as u64) as usize];
    let right = RIGHT[((random >> 20) % RIGHT.len() as u64) as usize];
    if attempt == 0 {
        return format!("{left}_{right}");
    }
    // One digit for the first attempts, as Docker has it, more when even those are all taken.
    format!("{left}_{right}{}", (random >> 40) % 10_u64.pow(attempt.div_ceil(8).min(6)))
}

/// 64 hexadecimal digits from the kernel; the first twelve are never all decimal, so that a short id is no number.
pub(crate) fn random_id() -> Result<String> {
    let mut bytes = [0_u8; 32];
    loop {
        getrandom::fill(&mut bytes).map_err(|error| Error::Internal(format!("random numbers: {error}")))?;
        let id = hex(&bytes);
        if id[..12].bytes().any(|digit| !digit.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

/// Random bits for a made-up name.
pub(crate) fn random_bits() -> Result<u64> {
    getrandom::u64().map_err(|error| Error::Internal(format!("random numbers: {error}")))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// How a thing afloat may be.
const LEFT: &[&str] = &[
    "able",
    "agile",
    "airy",
    "amber",
    "ample",
    "azure",
    "balmy",
    "beaming",
    "bold",
    "bonny",
    "brave",
    "breezy",
    "brisk",
    "bright",
    "buoyant",
    "calm",
    "candid",
    "canny",
    "cheery",
    "clear",
    "clever",
    "coastal",
    "coral",
    "crisp",
    "curious",
    "daring",
    "dauntless",
    "deft",
    "dapper",
    "earnest",
    "eager",
    "easy",
    "fabled",
    "fair",
    "fearless",
    "fleet",
    "fond",
    "frank",
    "free",
    "fresh",
    "gallant",
    "genial",
    "gentle",
    "glad",
    "gleaming",
    "golden",
    "graceful",
    "grand",
    "hale",
    "handy",
    "happy",
    "hardy",
    "hearty",
    "hopeful",
    "humble",
    "ideal",
    "ivory",
    "jaunty",
    "jolly",
    "jovial",
    "joyful",
    "keen",
    "kind",
    "lively",
    "loyal",
    "lucid",
    "lucky",
    "lunar",
    "mellow",
    "merry",
    "mighty",
    "mild",
    "misty",
    "modest",
    "neat",
    "nimble",
    "noble",
    "northern",
    "open",
    "patient",
    "peaceful",
    "pearly",
    "placid",
    "plucky",
    "polished",
    "proud",
    "prudent",
    "quaint",
    "quick",
    "quiet",
    "radiant",
    "ready",
    "regal",
    "roaming",
    "robust",
    "rosy",
    "sage",
    "salty",
    "sandy",
    "serene",
    "sharp",
    "silver",
    "sleek",
    "smooth",
    "snug",
    "solid",
    "sound",
    "southern",
    "spry",
    "stalwart",
    "steady",
    "stout",
    "sturdy",
    "sunny",
    "swift",
    "tidal",
    "tidy",
    "tranquil",
    "trim",
    "trusty",
    "upbeat",
    "valiant",
    "vivid",
    "warm",
    "wary",
    "watchful",
    "western",
    "willing",
    "windy",
    "wise",
    "witty",
    "worthy",
    "young",
    "zesty",
];

/// Those who found, measured, built or reckoned something worth a name.
const RIGHT: &[&str] = &[
    "abel",
    "agnesi",
    "alhazen",
    "amundsen",
    "anning",
    "archimedes",
    "armstrong",
    "avogadro",
    "baird",
    "banneker",
    "bardeen",
    "bassi",
    "becquerel",
    "bell",
    "bernoulli",
    "bessel",
    "bohr",
    "boole",
    "born",
    "bose",
    "boyle",
    "brahe",
    "brattain",
    "brunel",
    "cannon",
    "cantor",
    "carson",
    "cassini",
    "cauchy",
    "cavendish",
    "cayley",
    "celsius",
    "chandra",
    "chatelet",
    "clarke",
    "cook",
    "copernicus",
    "cori",
    "coulomb",
    "cray",
    "crick",
    "curie",
    "cuvier",
    "dalton",
    "darwin",
    "davy",
    "descartes",
    "dijkstra",
    "dirac",
    "drake",
    "edison",
    "einstein",
    "ekman",
    "engelbart",
    "erdos",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "fibonacci",
    "fleming",
    "foucault",
    "fourier",
    "franklin",
    "fresnel",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "gibbs",
    "goodall",
    "gray",
    "halley",
    "hamilton",
    "harrison",
    "heaviside",
    "henry",
    "herschel",
    "hertz",
    "hilbert",
    "hodgkin",
    "hooke",
    "hopper",
    "hubble",
    "humboldt",
    "huygens",
    "hypatia",
    "jacobi",
    "joule",
    "kelvin",
    "kepler",
    "khayyam",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "laplace",
    "lavoisier",
    "leavitt",
    "leibniz",
    "linnaeus",
    "lovelace",
    "lyell",
    "magellan",
    "marconi",
    "maury",
    "maxwell",
    "mayer",
    "mccarthy",
    "meitner",
    "mendel",
    "mercator",
    "merian",
    "mitchell",
    "morse",
    "nansen",
    "napier",
    "nash",
    "newton",
    "nightingale",
    "nobel",
    "noether",
    "oersted",
    "ohm",
    "pascal",
    "pasteur",
    "pauling",
    "payne",
    "peano",
    "perlman",
    "planck",
    "poincare",
    "ptolemy",
    "raman",
    "ramanujan",
    "riemann",
    "ritchie",
    "rubin",
    "rutherford",
    "sagan",
    "shannon",
    "shepard",
    "snell",
    "somerville",
    "stokes",
    "swan",
    "tereshkova",
    "tesla",
    "thales",
    "torricelli",
    "turing",
    "volta",
    "wallace",
    "watt",
    "weber",
    "wegener",
    "wilkes",
    "wren",
    "wright",
    "yalow",
    "yonath",
    "zeppelin",
    "zuse",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_docker_does() {
        for good in ["ab", "/web", "a.b_c-d", "9lives"] {
            assert_eq!(check(good).unwrap(), good.trim_start_matches('/'));
        }
        for bad in ["", "/", "a", "-ab", "a b", "a/b", "//ab", "ab\n", "é1"] {
            let text = check(bad).unwrap_err().to_string();
            assert_eq!(
                text,
                format!("Invalid container name ({bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            );
        }
    }

    #[test]
    fn every_made_up_name_is_allowed() {
        for word in LEFT.iter().chain(RIGHT) {
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word}");
        }
        for attempt in 0..40 {
            let name = generate(random_bits().unwrap(), attempt);
            assert_eq!(check(&name).unwrap(), name);
        }
        assert!(generate(7, 1).ends_with('0'));
    }

    #[test]
    fn ids_are_64_digits_and_differ() {
        let (one, other) = (random_id().unwrap(), random_id().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()));
    }
}
