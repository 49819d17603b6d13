//! Registries: pull, push, log-in, search, and what a name stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use berth_api::progress::{Message, Progress};
use berth_api::registry::{AuthConfig, AuthResponse, DistributionInspect, PushResult, SearchResult};
use berth_engine::{
    Class, ImagePull, ImagePush, Produced, RegistryCredentials, RegistryLogins, TransferProgress,
};
use futures_util::StreamExt as _;
use hyper::HeaderMap;
use serde::de::DeserializeOwned;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;
use super::transfer::bar;

/// The alphabet and padding of what clients send, or leave away.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `POST /images/create?fromImage=`
pub(crate) async fn pull(server: &Server, call: &Call) -> Result<Answer, Error> {
    let (image, tag) = (call.query.text("fromImage"), call.query.text("tag"));
    if let Some(answer) = embedded(server, image, tag).await? {
        return Ok(answer);
    }
    let pull = ImagePull {
        image: image.to_owned(),
        tag: tag.to_owned(),
        platform: call.query.text("platform").to_owned(),
        credentials: credentials(&call.headers),
    };
    transfer(server.engine.image_pull(pull).await?).await
}

/// The image that is part of the program needs no registry.
async fn embedded(server: &Server, image: &str, tag: &str) -> Result<Option<Answer>, Error> {
    let name = match tag {
        "" => image.to_owned(),
        digest if digest.contains(':') => format!("{image}@{digest}"),
        tag => format!("{image}:{tag}"),
    };
    let (engine, wanted) = (server.engine.clone(), name.clone());
    let added = tokio::task::spawn_blocking(move || engine.image_add_embedded(&wanted)).await;
    let added = match added
        .map_err(|error| Error::new(hyper::StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?
    {
        Ok(added) => added,
        // What is no name is for the pull to say.
        Err(error) if matches!(error.class(), Class::NotFound | Class::InvalidParameter) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let status = if added { "Downloaded newer image for" } else { "Image is up to date for" };
    let status = format!("Status: {status} {name}");
    Ok(Some(Answer::json_lines(futures_util::stream::iter([Message { status, ..Message::default() }]))))
}

/// `POST /images/{name}/push`
pub(crate) async fn push(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let platform = match call.query.text("platform") {
        "" => String::new(),
        json => serde_json::from_str::<berth_oci::Platform>(json)
            .map_err(|error| Error::invalid(format!("failed to parse platform: {error}")))?
            .to_string(),
    };
    let push = ImagePush {
        image: call.name.clone(),
        platform,
        tag: call.query.text("tag").to_owned(),
        credentials: credentials(&call.headers),
    };
    transfer(server.engine.image_push(push).await?).await
}

/// The progress as it is told. What goes wrong before the first word of it is the answer's status, as in Docker.
pub(super) async fn transfer(mut progress: Produced<TransferProgress>) -> Result<Answer, Error> {
    let first = match progress.next().await {
        Some(Err(error)) => return Err(error.into()),
        first => first,
    };
    let lines = futures_util::stream::iter(first).chain(progress);
    Ok(Answer::json_lines(lines.map(|word| match word {
        Ok(word) => message(word),
        Err(error) => Message::error(error.to_string()),
    })))
}

fn message(word: TransferProgress) -> Message {
    match word {
        TransferProgress::Update { id, status, progress: Some((current, total)) } => {
            let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            let detail = Progress { current: signed(current), total: signed(total), units: String::new() };
            let progress = bar(current, total);
            Message { id, status, progress, progress_detail: Some(detail), ..Message::default() }
        }
        TransferProgress::Update { id, status, progress: None } => {
            // As Docker: what belongs to a layer has the member, though nothing is in it.
            let of_layer = !id.is_empty() && !status.starts_with("Pulling from");
            let progress_detail = of_layer.then(Progress::default);
            Message { id, status, progress_detail, ..Message::default() }
        }
        TransferProgress::Pushed { tag, digest, size } => {
            let progress_detail = Some(Progress::default());
            Message { aux: Some(PushResult { tag, digest, size }), progress_detail, ..Message::default() }
        }
    }
}

/// `POST /auth`
pub(crate) async fn auth(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    let auth: AuthConfig = call.json().await?;
    let address = auth.server_address.clone();
    let login = server.engine.registry_login(&address, &known(auth)).await?;
    Answer::json(&AuthResponse { status: login.status, identity_token: login.identity_token })
}

/// `GET /images/search`
pub(crate) async fn search(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    const DEFAULT: usize = 25;
    const MOST: usize = 100;
    let limit = match call.query.text("limit") {
        "" => DEFAULT,
        text => text
            .parse::<i64>()
            .map_err(|_| {
                let why = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
                Error::invalid(format!("invalid limit specified: {why}"))
            })
            .and_then(|limit| match usize::try_from(limit) {
                Ok(0) => Ok(DEFAULT),
                Ok(limit) if limit <= MOST => Ok(limit),
                _ => Err(Error::invalid(format!("limit {limit} is outside the range of [1, 100]"))),
            })?,
    };
    let filters = call.query.filters()?;
    filters.validate(&["is-automated", "is-official", "stars"])?;
    let official =
        filters.contains("is-official").then(|| filters.boolean("is-official", false)).transpose()?;
    let automated =
        filters.contains("is-automated").then(|| filters.boolean("is-automated", false)).transpose()?;
    let mut stars = 0;
    for text in filters.get("stars") {
        let least: i64 = text.parse().map_err(|_| {
            let why = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
            Error::invalid(format!("invalid filter 'stars={text}': {why}"))
        })?;
        stars = stars.max(least);
    }
    let who = credentials(&call.headers);
    let found = server.engine.image_search(call.query.text("term"), limit, who.as_ref()).await?;
    let results: Vec<SearchResult> = found
        .into_iter()
        .filter(|found| official.is_none_or(|official| official == found.is_official))
        .filter(|found| automated.is_none_or(|automated| automated == found.is_automated))
        .filter(|found| found.star_count >= stars)
        .map(|found| SearchResult {
            star_count: found.star_count,
            is_official: found.is_official,
            name: found.name,
            is_automated: found.is_automated,
            description: found.description,
        })
        .collect();
    Answer::json(&results)
}

/// `GET /distribution/{name}/json`
pub(crate) async fn distribution(server: Arc<Server>, call: Call) -> Result<Answer, Error> {
    let who = credentials(&call.headers);
    let found = server.engine.distribution_inspect(&call.name, who.as_ref()).await?;
    Answer::json(&DistributionInspect::new(found.media_type, found.digest, found.size, found.platforms))
}

/// Who asks, from the header that clients send. One that says nothing of the kind is nobody's, as with Docker.
pub(super) fn credentials(headers: &HeaderMap) -> Option<RegistryCredentials> {
    read_credentials(headers, "X-Registry-Auth")
}

/// Who asks at a second registry.
pub(super) fn second_credentials(headers: &HeaderMap) -> Option<RegistryCredentials> {
    read_credentials(headers, "X-Registry-Config")
}

/// Who asks at each of several registries, by their domains: Docker's header of builds.
///
/// Errors: it is no JSON in base64.
pub(crate) fn logins(headers: &HeaderMap) -> Result<RegistryLogins, Error> {
    let logins = read_json::<BTreeMap<String, AuthConfig>>(headers, "X-Registry-Config")?;
    Ok(logins.into_iter().flatten().map(|(domain, auth)| (domain, known(auth))).collect())
}

fn read_credentials(headers: &HeaderMap, name: &'static str) -> Option<RegistryCredentials> {
    let auth = read_json::<AuthConfig>(headers, name).ok().flatten();
    auth.map(known).filter(|who| !who.is_empty())
}

/// A header of JSON in base64, of either alphabet; nothing if it is empty.
fn read_json<T: DeserializeOwned>(headers: &HeaderMap, name: &'static str) -> Result<Option<T>, Error> {
    let Some(header) = headers.get(name).filter(|header| !header.is_empty()) else {
        return Ok(None);
    };
    let standard = header.as_bytes().iter().map(|byte| match byte {
        b'+' => b'-',
        b'/' => b'_',
        other => *other,
    });
    let decoded = LENIENT.decode(standard.collect::<Vec<u8>>()).map_err(|_| {
        Error::invalid(format!("invalid {name} header: must be a valid base64url-encoded string"))
    })?;
    if decoded.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let value = serde_json::from_slice(&decoded);
    value.map_err(|error| Error::invalid(format!("invalid {name} header: invalid JSON: {error}"))).map(Some)
}

fn known(auth: AuthConfig) -> RegistryCredentials {
    let mut who = RegistryCredentials {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    };
    // The old form: user and password in one.
    if who.username.is_empty()
        && let Ok(both) = base64::engine::general_purpose::STANDARD.decode(&auth.auth)
        && let Some((user, password)) = String::from_utf8_lossy(&both).split_once(':')
    {
        user.clone_into(&mut who.username);
        password.trim_end_matches('\0').clone_into(&mut who.password);
    }
    who
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_in_every_base64() {
        let json = r#"{"username":"u?>","password":"p~~ü"}"#;
        for engine in [
            base64::engine::general_purpose::STANDARD,
            base64::engine::general_purpose::STANDARD_NO_PAD,
            base64::engine::general_purpose::URL_SAFE,
            base64::engine::general_purpose::URL_SAFE_NO_PAD,
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("X-Registry-Auth", engine.encode(json).parse().unwrap());
            let who = credentials(&headers).unwrap();
            assert_eq!((who.username.as_str(), who.password.as_str()), ("u?>", "p~~ü"));
        }
        let mut headers = HeaderMap::new();
        assert_eq!(credentials(&headers), None);
        // What a client without credentials sends.
        headers.insert("X-Registry-Auth", "e30=".parse().unwrap());
        assert_eq!(credentials(&headers), None);
        for nobody in ["!", "bm9uc2Vuc2U="] {
            headers.insert("X-Registry-Auth", nobody.parse().unwrap());
            assert_eq!(credentials(&headers), None);
        }
    }
}
