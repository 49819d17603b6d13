//! Documents and blobs of registries that no image of ours is made of: manifests as they are, artifacts, referrers.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use berth_distribution::{Client, Put};
use berth_oci::image::{Document, media_type};
use berth_oci::{Descriptor, Digest, Index, Platform, Reference};
use bytes::Bytes;
use futures_util::StreamExt as _;
use sha2::Digest as _;
use tokio::sync::mpsc;

use super::registry::{RegistryCredentials, error, name_of};
use super::{Archive, Produced};
use crate::Inner;
use crate::channel::Upload;
use crate::error::{Error, Result};

/// The pieces in which blobs go through.
const PIECE_BYTES: usize = 128 << 10;
const PIECES: usize = 4;

/// A question about documents of a registry.
#[derive(Clone, Debug, Default)]
pub struct DocumentRequest {
    /// The name, with tag or digest or without.
    pub name: String,
    /// The registry need have no certificate that is right, and may speak in clear.
    pub insecure: bool,
    /// Who asks.
    pub credentials: Option<RegistryCredentials>,
}

/// What a name stands for, as its registry has it.
#[derive(Clone, Debug)]
pub struct RegistryDocument {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// The document itself.
    pub document: Bytes,
    /// The platform of an image, where that was asked for.
    pub platform: Option<Platform>,
}

/// A document to put to a registry.
#[derive(Clone, Debug, Default)]
pub struct DocumentPut {
    /// Its media type.
    pub media_type: String,
    /// The document itself.
    pub document: Bytes,
    /// The repository that has the blobs which it names; empty: that is the one it is put to.
    pub from: String,
    /// Who asks there.
    pub from_credentials: Option<RegistryCredentials>,
}

impl DocumentRequest {
    fn reference(&self) -> Result<Reference> {
        Ok(name_of(&self.name, "")?.0.or_latest())
    }

    /// The name and the digest that it must have.
    fn by_digest(&self) -> Result<(Reference, Digest)> {
        let reference = self.reference()?;
        let digest = reference.digest().cloned();
        let digest = digest.ok_or_else(|| Error::invalid(format!("{} has no digest", self.name)))?;
        Ok((reference, digest))
    }
}

impl Inner {
    fn client_for(&self, request: &DocumentRequest, reference: &Reference) -> Arc<Client> {
        let client = self.registry_client();
        if request.insecure { Arc::new(client.trusting(reference.domain())) } else { client }
    }

    pub(crate) async fn document(
        &self,
        request: &DocumentRequest,
        with_platform: bool,
    ) -> Result<RegistryDocument> {
        let reference = request.reference()?;
        let client = self.client_for(request, &reference);
        let who = request.credentials.as_ref();
        let found = client.resolve(&reference, who).await.map_err(error)?;
        let mut platform = None;
        if with_platform
            && let Ok(Document::Manifest(manifest)) = Document::parse(&found.document)
            && matches!(manifest.config.media_type.as_str(), media_type::CONFIG | media_type::DOCKER_CONFIG)
        {
            platform = Some(client.image_config(&reference, &manifest, who).await.map_err(error)?.platform());
        }
        let berth_distribution::Resolved { digest, media_type, document } = found;
        Ok(RegistryDocument { media_type, digest, document, platform })
    }

    pub(crate) async fn document_put(&self, request: &DocumentRequest, put: DocumentPut) -> Result<Digest> {
        let to = request.reference()?;
        let from = match put.from.as_str() {
            "" => None,
            name => Some((name_of(name, "")?.0, put.from_credentials)),
        };
        let client = self.client_for(request, &to);
        let put = Put {
            to,
            media_type: put.media_type,
            document: put.document,
            from,
            credentials: request.credentials.clone(),
        };
        client.put(&put).await.map_err(error)
    }

    pub(crate) async fn referrers(&self, request: &DocumentRequest, artifact_type: &str) -> Result<Index> {
        let mut subject = request.reference()?;
        let client = self.client_for(request, &subject);
        let who = request.credentials.as_ref();
        if subject.digest().is_none() {
            let resolved = client.resolve(&subject, who).await.map_err(error)?;
            subject = subject.with_digest(resolved.digest);
        }
        client.referrers(&subject, artifact_type, who).await.map_err(error)
    }

    /// A blob, checked as it passes: the stream ends with an error where it is not what its digest says.
    pub(crate) fn blob_get(&self, request: &DocumentRequest, size: u64) -> Result<Archive> {
        let (reference, digest) = request.by_digest()?;
        let descriptor = Descriptor {
            media_type: String::new(),
            digest,
            size,
            urls: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
            platform: None,
            other: serde_json::Map::new(),
        };
        let client = self.client_for(request, &reference);
        let stream = client.blob(&reference, &descriptor, request.credentials.as_ref()).map_err(error)?;
        let (sender, receiver) = mpsc::channel(PIECES);
        tokio::task::spawn_blocking(move || {
            let told = pass_on(stream, &descriptor, &sender);
            if let Err(error) = told {
                let _ = sender.blocking_send(Err(Error::Internal(error.to_string()))); // nobody reads on
            }
        });
        Ok(Produced { receiver })
    }

    /// Takes a blob in whole, so that an upload that breaks off can be taken up again, and puts it to a registry.
    pub(crate) async fn blob_put(&self, request: &DocumentRequest, mut source: impl Upload) -> Result<()> {
        let (reference, digest) = request.by_digest()?;
        let folder = self.config.data_root.clone();
        let failed = |error: io::Error| Error::Internal(format!("keeping the blob: {error}"));
        let mut file = unnamed(&folder).map_err(failed)?;
        let mut hash = sha2::Sha256::new();
        let mut size = 0;
        while let Some(piece) = source.next().await {
            let piece = piece.map_err(|error| Error::invalid(format!("reading the blob: {error}")))?;
            hash.update(&piece);
            size += piece.len() as u64;
            file = tokio::task::spawn_blocking(move || file.write_all(&piece).map(|()| file))
                .await
                .map_err(|error| Error::Internal(error.to_string()))?
                .map_err(failed)?;
        }
        let came = Digest::from_sha256(&hash.finalize().into());
        if came != digest {
            return Err(Error::invalid(format!("the blob has digest {came}, and not {digest}")));
        }
        let client = self.client_for(request, &reference);
        let who = request.credentials.as_ref();
        client.put_blob(&reference, digest, size, Arc::new(file), who).await.map_err(error)
    }
}

/// A file without a name: it is gone with its last handle.
fn unnamed(folder: &std::path::Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::TMPFILE.bits().cast_signed();
    File::options().read(true).write(true).mode(0o600).custom_flags(flags).open(folder)
}

fn pass_on(
    mut stream: impl io::Read,
    wanted: &Descriptor,
    to: &mpsc::Sender<Result<Bytes>>,
) -> io::Result<()> {
    let mut hash = sha2::Sha256::new();
    let mut left = wanted.size;
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = stream.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        if read == 0 {
            break;
        }
        hash.update(&piece);
        left = left.checked_sub(read as u64).ok_or_else(|| io::Error::other("the blob is too long"))?;
        if to.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
    let came = Digest::from_sha256(&hash.finalize().into());
    if left > 0 || came != wanted.digest {
        return Err(io::Error::other(format!("blob {} has digest {came}", wanted.digest)));
    }
    Ok(())
}
