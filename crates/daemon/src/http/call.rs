//! One request, parsed as far as all requests are alike.

use berth_api::Version;
use hyper::header::{self, HeaderMap};
use serde::de::DeserializeOwned;

use super::body::RequestBody;
use super::error::Error;
use super::query::Query;

/// A request on its way to its handler.
#[derive(Debug)]
pub(crate) struct Call {
    /// The version that the client speaks.
    pub(crate) version: Version,
    /// What stands in the path where the route has `{}`; empty if it has none.
    pub(crate) name: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RequestBody,
}

impl Call {
    /// Reads a JSON body; none at all is the default.
    ///
    /// Errors: Docker's texts for a wrong content type and for JSON that is none or does not fit.
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T, Error> {
        let body = self.take_json()?;
        if body.is_empty() { Ok(T::default()) } else { parse(&body.read().await?) }
    }

    /// Reads a JSON body that must be there.
    ///
    /// Errors: as [`Call::json_or_default`].
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        parse(&self.take_json()?.read().await?)
    }

    /// Takes the body, for a handler that reads it as it arrives.
    pub(crate) fn take_body(&mut self) -> RequestBody {
        std::mem::replace(&mut self.body, RequestBody::Read(bytes::Bytes::new()))
    }

    fn take_json(&mut self) -> Result<RequestBody, Error> {
        let value =
            self.headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        match value {
            None if self.body.is_empty() => {}
            None => return Err(Error::invalid("malformed Content-Type header (): mime: no media type")),
            Some(value) => {
                let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                if kind != "application/json" {
                    let message =
                        format!("unsupported Content-Type header ({value}): must be 'application/json'");
                    return Err(Error::invalid(message));
                }
            }
        }
        Ok(self.take_body())
    }
}

/// Reads JSON by Go's rules.
fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::invalid("invalid JSON: got EOF while reading request body"));
    }
    Ok(berth_oci::json::from_slice(text)?)
}
