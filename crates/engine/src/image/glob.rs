//! Patterns of image names, as Go's `path.Match` reads them.

/// Whether a familiar name fits a pattern: `busybox`, `bus*`, `busybox:1.*`, `*/*`.
pub(crate) fn reference(pattern: &str, name: &str) -> bool {
    let repository = match name.split_once('@') {
        Some((repository, _)) => repository,
        // A colon after the last slash begins a tag; one before it, a port.
        None => match name.rfind(':').filter(|at| !name[*at..].contains('/')) {
            Some(at) => &name[..at],
            None => name,
        },
    };
    matches(pattern, name) || matches(pattern, repository)
}

/// Whether it is a pattern: its sets end and have something in them, and its last backslash protects something.
pub(crate) fn is_valid(pattern: &str) -> bool {
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' if rest.next().is_none() => return false,
            '[' => {
                rest.next_if_eq(&'^');
                let mut members = 0;
                loop {
                    match rest.next() {
                        Some(']') if members > 0 => break,
                        Some(']' | '-') | None => return false,
                        Some('\\') if rest.next().is_none() => return false,
                        Some(_) => members += 1,
                    }
                    if rest.next_if_eq(&'-').is_some() && !rest.next().is_some_and(|last| last != ']') {
                        return false;
                    }
                }
            }
            _ => {}
        }
    }
    true
}

/// Whether all of `text` fits `pattern`: `*` and `?` stop at slashes, `[…]` is a set, a backslash protects.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    fits(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>())
}

fn fits(pattern: &[char], text: &[char]) -> bool {
    // Where to go on after the last star if what follows it did not fit.
    let (mut p, mut t, mut star) = (0, 0, None);
    loop {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            None if t == text.len() => return true,
            None => None,
            Some(_) => text.get(t).and_then(|character| one(&pattern[p..], *character)),
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((after, from))) if from < text.len() && text[from] != '/' => {
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// How much of the pattern a character fits; nothing if it does not.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match pattern {
        ['?', ..] => (character != '/').then_some(1),
        ['\\', protected, ..] => (*protected == character).then_some(2),
        ['[', set @ ..] => {
            let end = set.iter().skip(1).position(|character| *character == ']')? + 1;
            let (negated, set) = match &set[..end] {
                ['^', rest @ ..] => (true, rest),
                set => (false, set),
            };
            (in_set(set, character) != negated).then_some(end + 2)
        }
        [plain, ..] => (*plain == character).then_some(1),
        [] => None,
    }
}

fn in_set(set: &[char], character: char) -> bool {
    match set {
        [low, '-', high, rest @ ..] => (*low..=*high).contains(&character) || in_set(rest, character),
        [one, rest @ ..] => *one == character || in_set(rest, character),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_go() {
        for (pattern, text, expect) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("", "", true),
            ("", "a", false),
            ("[", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expect, "{pattern} {text}");
        }
    }

    #[test]
    fn names_fit_with_and_without_their_tag() {
        for (pattern, name, expect) in [
            ("busybox", "busybox:latest", true),
            ("busybox:1*", "busybox:1.36", true),
            ("bus*", "busybox:latest", true),
            ("busybox:2", "busybox:1", false),
            ("*/*", "library/busybox:1", true),
            ("*", "host:5000/a:1", false),
            ("host:5000/a", "host:5000/a:1", true),
            ("busybox", "busybox@sha256:ab", true),
        ] {
            assert_eq!(reference(pattern, name), expect, "{pattern} {name}");
        }
    }
}
