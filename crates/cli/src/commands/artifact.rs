//! `artifact`: files at a registry that are no image (SBOMs, signatures, models), and what refers to an image.
//!
//! Files go as they are: a blob each, its name in the annotation `org.opencontainers.image.title`, so that what ORAS and
//! Podman push is pulled here and the other way round.
//!
//! Source: OCI image-spec 1.1, "Guidelines for Artifact Usage".

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use berth_api::client::{Client, DocumentOptions, bytes_piece, file_pieces};
use berth_oci::image::media_type;
use berth_oci::{Descriptor, Digest, Manifest, Reference};
use serde_json::{Value as Json, json};
use sha2::Digest as _;

use super::manifest::{Found, INSECURE, asking, fetch};
use crate::command::{Arity, Command, Entry, Group, Invocation};
use crate::context::Context;
use crate::flags::Flag;
use crate::format::list::Format;
use crate::format::units::human_size;
use crate::format::value::{Row, Value};
use crate::outcome::{Failure, Outcome, open_text};
use crate::values::reference;

/// The annotation that names a file.
const TITLE: &str = "org.opencontainers.image.title";
/// The type of an artifact of which nobody says what it is.
const UNKNOWN: &str = "application/vnd.unknown.artifact.v1";
/// The configuration of an artifact that needs none, and its media type.
const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

static COMMANDS: &[&dyn Entry] = &[&LS, &PULL, &PUSH];

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "artifact",
    about: "Send and fetch files that are no images",
    commands: COMMANDS,
    aliases: &[("list", "ls")],
    later: &[],
};

#[derive(Debug, Default)]
pub(crate) struct PushOptions {
    annotations: Vec<String>,
    insecure: bool,
    kind: String,
    subject: String,
}

static PUSH: Command<PushOptions> = Command {
    name: "push",
    usage: "[OPTIONS] NAME[:TAG] FILE[:TYPE] [FILE[:TYPE]...]",
    about: "Send files to a registry as one artifact",
    aliases: &[],
    arity: Arity::AtLeast(2),
    flags: &[
        Flag::list(
            "annotation",
            '\0',
            |o: &mut PushOptions| &mut o.annotations,
            "Annotation of the artifact (key=value)",
        ),
        Flag::text("artifact-type", '\0', |o: &mut PushOptions| &mut o.kind, "What the artifact is"),
        Flag::bool("insecure", '\0', |o: &mut PushOptions| &mut o.insecure, INSECURE),
        Flag::text(
            "subject",
            '\0',
            |o: &mut PushOptions| &mut o.subject,
            "Image of the same repository that the artifact is about",
        ),
    ],
    interspersed: true,
    run: push,
};

#[derive(Debug, Default)]
pub(crate) struct PullOptions {
    insecure: bool,
    output: String,
}

static PULL: Command<PullOptions> = Command {
    name: "pull",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Fetch the files of an artifact",
    aliases: &[],
    arity: Arity::Exactly(1),
    flags: &[
        Flag::bool("insecure", '\0', |o: &mut PullOptions| &mut o.insecure, INSECURE),
        Flag::text("output", 'o', |o: &mut PullOptions| &mut o.output, "Directory of the files").default("."),
    ],
    interspersed: true,
    run: pull,
};

#[derive(Debug, Default)]
pub(crate) struct LsOptions {
    format: String,
    insecure: bool,
    kind: String,
}

static LS: Command<LsOptions> = Command {
    name: "ls",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "List the artifacts that are about an image",
    aliases: &["artifact list"],
    arity: Arity::Exactly(1),
    flags: &[
        Flag::text("artifact-type", '\0', |o: &mut LsOptions| &mut o.kind, "Only artifacts of this type"),
        Flag::text("format", '\0', |o: &mut LsOptions| &mut o.format, super::ps::FORMAT_HELP),
        Flag::bool("insecure", '\0', |o: &mut LsOptions| &mut o.insecure, INSECURE),
    ],
    interspersed: true,
    run: list,
};

fn push(context: &Context, invocation: &Invocation<PushOptions>) -> Outcome {
    let options = &invocation.options;
    let named =
        Reference::parse(&invocation.arguments[0]).map_err(|error| Failure::new(error.to_string()))?;
    let annotations: serde_json::Map<String, Json> = options
        .annotations
        .iter()
        .map(|pair| {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::new(format!("invalid annotation {pair:?}: it is no key=value")))?;
            Ok((key.to_owned(), Json::from(value)))
        })
        .collect::<Result<_, Failure>>()?;
    context.block_on(async {
        let client = context.client().await?;
        let asking = asking(context, &named, options.insecure)?;
        let kind = if options.kind.is_empty() { UNKNOWN } else { &options.kind };
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::MANIFEST, "artifactType": kind,
            "config": {"mediaType": EMPTY_TYPE, "digest": digest_of(EMPTY).as_str(), "size": EMPTY.len(),
                       "data": "e30="},
            "layers": [],
        });
        if !options.subject.is_empty() {
            manifest["subject"] = subject(client, &named, &options.subject, &asking).await?;
        }
        if !annotations.is_empty() {
            manifest["annotations"] = annotations.into();
        }
        let mut layers = Vec::new();
        for file in &invocation.arguments[1..] {
            layers.push(send(client, &named, file, &asking).await?);
        }
        manifest["layers"] = layers.into();
        let config = named.with_digest(digest_of(EMPTY)).to_string();
        client.blob_put(&config, bytes_piece(EMPTY), &asking).await?;
        let raw = serde_json::to_vec(&manifest).map_err(|error| Failure::new(error.to_string()))?;
        // What belongs to an image is found by it and needs no name of its own.
        let to = match named.is_name_only() && !options.subject.is_empty() {
            true => named.with_digest(digest_of(&raw)),
            false => named.clone().or_latest(),
        };
        let put =
            client.document_put(&to.to_string(), media_type::MANIFEST, raw.into(), None, &asking).await?;
        context.printer.line(format!("{}@{}", named.familiar_repository(), put.digest))?;
        Ok(())
    })
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&sha2::Sha256::digest(bytes).into())
}

/// The descriptor of what the artifact is about.
async fn subject(
    client: &Client,
    named: &Reference,
    name: &str,
    asking: &DocumentOptions,
) -> Result<Json, Failure> {
    let subject = reference::parse(name)?;
    if subject.repository() != named.repository() {
        return Err(Failure::new(format!(
            "subject {} is not in the repository {}",
            subject.familiar(),
            named.familiar_repository()
        )));
    }
    let found = client.document(&subject.to_string(), false, asking).await?;
    let size = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &found.raw);
    let size = size.map_err(|error| Failure::new(error.to_string()))?.len();
    Ok(json!({"mediaType": found.media_type, "digest": found.digest, "size": size}))
}

/// Sends one file; its descriptor.
async fn send(
    client: &Client,
    named: &Reference,
    argument: &str,
    asking: &DocumentOptions,
) -> Result<Json, Failure> {
    let (path, kind) = match argument.rsplit_once(':') {
        Some((path, kind)) if kind.contains('/') && !Path::new(argument).exists() => (path, kind),
        _ => (argument, "application/octet-stream"),
    };
    let failed = |error: std::io::Error| Failure::new(open_text(path, &error));
    let mut file = fs::File::open(path).map_err(failed)?;
    let mut hash = Hash(sha2::Sha256::new());
    let size = std::io::copy(&mut file, &mut hash).map_err(failed)?;
    let digest = Digest::from_sha256(&hash.0.finalize().into());
    let title = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let blob = named.with_digest(digest.clone()).to_string();
    let file = fs::File::open(path).map_err(failed)?;
    client.blob_put(&blob, file_pieces(file), asking).await?;
    let annotations = json!({ TITLE: title });
    Ok(json!({"mediaType": kind, "digest": digest.as_str(), "size": size, "annotations": annotations}))
}

struct Hash(sha2::Sha256);

impl std::io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn pull(context: &Context, invocation: &Invocation<PullOptions>) -> Outcome {
    let PullOptions { insecure, output } = &invocation.options;
    let named = reference::parse(&invocation.arguments[0])?;
    let folder = PathBuf::from(if output.is_empty() { "." } else { output });
    context.block_on(async {
        let client = context.client().await?;
        let asking = asking(context, &named, *insecure)?;
        let Found::Manifest(found) = fetch(client, &named, &asking).await? else {
            return Err(Failure::new(format!("{} is an index: name one manifest of it", named.familiar())));
        };
        let wrong = |why: String| Failure::new(format!("{}: {why}", named.familiar()));
        let manifest: Manifest =
            serde_json::from_slice(&found.raw).map_err(|error| wrong(error.to_string()))?;
        if matches!(manifest.config.media_type.as_str(), media_type::CONFIG | media_type::DOCKER_CONFIG) {
            return Err(wrong("it is an image and no artifact: 'pull' fetches it".to_owned()));
        }
        let files = files(&manifest).map_err(wrong)?;
        fs::create_dir_all(&folder)
            .map_err(|error| Failure::new(open_text(&folder.display().to_string(), &error)))?;
        for (layer, name) in files {
            let path = folder.join(name);
            receive(client, &named, layer, &path, &asking).await?;
            context.printer.line(path.display().to_string())?;
        }
        context.printer.line(format!("Digest: {}", found.descriptor.digest))?;
        Ok(())
    })
}

/// The files of an artifact by their names, each of which is checked: a registry chooses them.
fn files(manifest: &Manifest) -> Result<Vec<(&Descriptor, &str)>, String> {
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for layer in &manifest.layers {
        // What has no name gets its digest's.
        let name = layer.annotations.get(TITLE).map_or(layer.digest.hex(), String::as_str);
        if name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '\0']) {
            return Err(format!("{name:?} is no name of a file"));
        }
        if !seen.insert(name) {
            return Err(format!("two files have the name {name:?}"));
        }
        files.push((layer, name));
    }
    Ok(files)
}

/// Fetches one file; it has its name when all of it is there.
async fn receive(
    client: &Client,
    named: &Reference,
    layer: &Descriptor,
    path: &Path,
    asking: &DocumentOptions,
) -> Outcome {
    let blob = named.with_digest(layer.digest.clone()).to_string();
    let mut body = client.blob(&blob, layer.size, asking).await?;
    let beside = path.with_file_name(format!(".{}.{}.part", layer.digest.short(), std::process::id()));
    let failed = |error: std::io::Error| Failure::new(open_text(&path.display().to_string(), &error));
    let write = async {
        let mut file = fs::File::create(&beside).map_err(failed)?;
        let mut hash = sha2::Sha256::new();
        while let Some(chunk) = body.chunk().await? {
            hash.update(&chunk);
            file.write_all(&chunk).map_err(failed)?;
        }
        let came = Digest::from_sha256(&hash.finalize().into());
        if came != layer.digest {
            return Err(Failure::new(format!("blob {} came with digest {came}", layer.digest)));
        }
        fs::rename(&beside, path).map_err(failed)
    };
    let written = write.await;
    if written.is_err() {
        let _ = fs::remove_file(&beside); // it may not be there
    }
    written
}

const TABLE: &str = "{{.Digest}}\t{{.ArtifactType}}\t{{.Size}}";
const HEADERS: &[(&str, &str)] =
    &[("ArtifactType", "ARTIFACT TYPE"), ("Digest", "DIGEST"), ("MediaType", "MEDIA TYPE"), ("Size", "SIZE")];

fn list(context: &Context, invocation: &Invocation<LsOptions>) -> Outcome {
    let options = &invocation.options;
    let named = reference::parse(&invocation.arguments[0])?;
    let format = Format::parse(&options.format, TABLE)?;
    context.block_on(async {
        let client = context.client().await?;
        let asking = asking(context, &named, options.insecure)?;
        let found = client.referrers(&named.to_string(), &options.kind, &asking).await?;
        let rows: Vec<Rc<dyn Row>> =
            found.manifests.into_iter().map(|found| Rc::new(Line(found)) as Rc<dyn Row>).collect();
        context.printer.data(format.render(HEADERS, &rows)?)?;
        Ok(())
    })
}

struct Line(Descriptor);

impl Row for Line {
    fn type_name(&self) -> &'static str {
        "*formatter.artifactContext"
    }

    fn names(&self) -> &'static [&'static str] {
        &["ArtifactType", "Digest", "MediaType", "Size"]
    }

    fn get(&self, name: &str) -> Option<Value> {
        let kind = || self.0.other.get("artifactType").and_then(Json::as_str).unwrap_or_default().to_owned();
        #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
        let text = match name {
            "ArtifactType" => kind(),
            "Digest" => self.0.digest.to_string(),
            "MediaType" => self.0.media_type.clone(),
            "Size" => human_size(self.0.size as f64),
            _ => return None,
        };
        Some(Value::text(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_lead_nowhere_else() {
        let layer = |title: &str| {
            json!({"mediaType": "x/y", "digest": digest_of(title.as_bytes()).as_str(), "size": 1,
                   "annotations": {TITLE: title}})
        };
        let check = |titles: &[&str]| {
            let layers: Vec<Json> = titles.iter().map(|title| layer(title)).collect();
            let config = json!({"mediaType": EMPTY_TYPE, "digest": digest_of(EMPTY).as_str(), "size": 2});
            let manifest: Manifest =
                serde_json::from_value(json!({"schemaVersion": 2, "config": config, "layers": layers}))
                    .unwrap();
            files(&manifest).map(|files| files.len())
        };
        assert_eq!(check(&["a", "b c"]), Ok(2));
        for titles in [&["../a"][..], &["/etc/passwd"], &[".."], &[""], &["a", "a"], &["a/b"]] {
            assert!(check(titles).is_err(), "{titles:?}");
        }
    }
}
