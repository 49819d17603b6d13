//! What is asked of registries: the client does it, the engine tells of changes.

use std::sync::{Arc, PoisonError};

use berth_distribution::{Class, Client, Found, OnUpdate, Pull, Push, Pushed, Resolved, Update};
use berth_oci::image::Document;
use berth_oci::{Platform, Reference};
use tokio::sync::mpsc;

use super::{ImageImport, Produced};
use crate::Inner;
use crate::error::{Error, Result, chain};

pub use berth_distribution::{
    Credentials as RegistryCredentials, Found as RegistryFound, Login as RegistryLogin,
    Options as RegistryOptions, Proxies as RegistryProxies, Registry as RegistrySettings,
};

/// Messages between the registry client and whoever reads them. Mere counting is left out when they pile up.
const MESSAGES: usize = 4096;

/// What to pull, as the Engine API has it.
#[derive(Clone, Debug, Default)]
pub struct ImagePull {
    /// The name, with tag or digest or without.
    pub image: String,
    /// A tag or digest beside it; empty if there is none.
    pub tag: String,
    /// `os[/architecture[/variant]]`; empty: the host's.
    pub platform: String,
    /// Who asks.
    pub credentials: Option<RegistryCredentials>,
}

/// What to push, as the Engine API has it.
#[derive(Clone, Debug, Default)]
pub struct ImagePush {
    /// The name, which says where to.
    pub image: String,
    /// A tag; empty: all tags.
    pub tag: String,
    /// The platform that the image must be for; empty: any.
    pub platform: String,
    /// Who asks.
    pub credentials: Option<RegistryCredentials>,
}

/// One word about a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferProgress {
    /// Something happens.
    Update {
        /// To what: a layer, a tag, or nothing.
        id: String,
        /// What.
        status: String,
        /// Bytes done and bytes in all.
        progress: Option<(u64, u64)>,
    },
    /// An image is at the registry.
    Pushed {
        /// The tag it has there.
        tag: String,
        /// The digest of its manifest.
        digest: String,
        /// The length of its manifest.
        size: u64,
    },
}

/// What a registry says of a name.
#[derive(Clone, Debug)]
pub struct DistributionInspect {
    /// The media type of what it stands for.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its length.
    pub size: u64,
    /// The platforms there are.
    pub platforms: Vec<Platform>,
}

/// The class and text of a registry's error.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn error(error: berth_distribution::Error) -> Error {
    let text = chain(&error);
    match error.class() {
        Class::Invalid => Error::InvalidParameter(text),
        Class::NotFound => Error::NotFound(text),
        Class::Unauthorized => Error::Unauthorized(text),
        Class::Forbidden => Error::Forbidden(text),
        Class::Internal => Error::Internal(text),
    }
}

/// The name that a pull or push means; whether it has neither tag nor digest.
pub(super) fn name_of(image: &str, tag: &str) -> Result<(Reference, bool)> {
    let parse =
        |text: &str| {
            Reference::parse(text).map_err(|error| {
                Error::invalid(format!("invalid reference format: {error}").replace(
                    "invalid reference format: invalid reference format",
                    "invalid reference format",
                ))
            })
        };
    let name = parse(image)?;
    let name = match tag {
        "" => name,
        // What the name says itself counts no more.
        tag => match tag.parse() {
            Ok(digest) => name.with_digest(digest),
            Err(_) => name.with_tag(tag).map_err(|_| Error::invalid("invalid tag format"))?,
        },
    };
    let is_bare = name.is_name_only();
    Ok((name, is_bare))
}

impl Inner {
    /// The client of registries.
    pub(crate) fn registry_client(&self) -> Arc<Client> {
        let mut client = self.registry_client.lock().unwrap_or_else(PoisonError::into_inner);
        client.get_or_insert_with(|| Arc::new(Client::new(self.config.live.get().registries.clone()))).clone()
    }

    /// Lets transfers that begin from now on use the settings as they are now. Those under way end as they began.
    pub(crate) fn renew_registry_client(&self) {
        *self.registry_client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn image_pull(self: &Arc<Self>, pull: ImagePull) -> Result<Produced<TransferProgress>> {
        let (reference, is_bare) = name_of(&pull.image, &pull.tag)?;
        let platform = match pull.platform.as_str() {
            "" => None,
            text => Some(Platform::parse(text).map_err(|error| Error::invalid(error.to_string()))?),
        };
        let pull = Pull { reference, all_tags: is_bare, platform, credentials: pull.credentials };
        Ok(self.transfer(async move |engine: Arc<Inner>, updates: OnUpdate| {
            let images = engine.store.images();
            let pulled = engine.registry_client().pull(images, &pull, &updates).await.map_err(error)?;
            for image in pulled {
                let name = image.reference.familiar();
                engine.image_event("pull", &name, &image.reference.familiar_repository());
            }
            Ok(Vec::new())
        }))
    }

    pub(crate) fn image_push(self: &Arc<Self>, push: ImagePush) -> Result<Produced<TransferProgress>> {
        let (reference, is_bare) = name_of(&push.image, &push.tag)?;
        if !push.platform.is_empty() {
            // An image here is for one platform: that one is pushed, or none.
            let name = reference.clone().or_latest();
            let found = self.store.images().get(&name.to_string());
            let image = found.map_err(|error| Error::NotFound(error.to_string()))?;
            super::check_platform(&name.familiar(), &image, &push.platform)?;
        }
        let push = Push { reference, all_tags: is_bare, credentials: push.credentials };
        Ok(self.transfer(async move |engine: Arc<Inner>, updates: OnUpdate| {
            let images = engine.store.images();
            let pushed = engine.registry_client().push(images, &push, &updates).await.map_err(error)?;
            for image in &pushed {
                let name = format!("{}:{}", push.reference.familiar_repository(), image.tag);
                engine.image_event("push", &name, &push.reference.familiar_repository());
            }
            Ok(pushed)
        }))
    }

    /// Imports the archive that a URL gives.
    pub(crate) fn image_import_from(
        self: &Arc<Self>,
        url: String,
        import: ImageImport,
    ) -> Produced<TransferProgress> {
        self.transfer(async move |engine: Arc<Inner>, updates: OnUpdate| {
            let archive = engine.registry_client().fetch(&url, &updates).await.map_err(error)?;
            let status = engine.image_import(archive, import).await?;
            updates(Update { status, ..Update::default() });
            Ok(Vec::new())
        })
    }

    /// Runs a transfer; it ends when nobody reads of it any more.
    fn transfer<F, Fut>(self: &Arc<Self>, work: F) -> Produced<TransferProgress>
    where
        F: FnOnce(Arc<Inner>, OnUpdate) -> Fut,
        Fut: Future<Output = Result<Vec<Pushed>>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(MESSAGES);
        let for_updates = sender.clone();
        let on_update: OnUpdate = Arc::new(move |update: Update| {
            if update.progress.is_some() && for_updates.capacity() < MESSAGES / 2 {
                return;
            }
            let Update { id, status, progress } = update;
            let _ = for_updates.try_send(Ok(TransferProgress::Update { id, status, progress }));
        });
        let work = work(self.clone(), on_update);
        tokio::spawn(async move {
            let done = tokio::select! {
                done = work => done,
                () = sender.closed() => return,
            };
            let last = match done {
                Ok(pushed) => pushed
                    .into_iter()
                    .map(|pushed| {
                        let Pushed { tag, digest, size, .. } = pushed;
                        Ok(TransferProgress::Pushed { tag, digest: digest.to_string(), size })
                    })
                    .collect(),
                Err(error) => vec![Err(error)],
            };
            for word in last {
                let _ = sender.send(word).await;
            }
        });
        Produced { receiver }
    }

    pub(crate) async fn registry_login(
        &self,
        server: &str,
        who: &RegistryCredentials,
    ) -> Result<RegistryLogin> {
        self.registry_client().login(server, who).await.map_err(error)
    }

    pub(crate) async fn image_search(
        &self,
        term: &str,
        limit: usize,
        who: Option<&RegistryCredentials>,
    ) -> Result<Vec<Found>> {
        self.registry_client().search(term, limit, who).await.map_err(error)
    }

    pub(crate) async fn distribution_inspect(
        &self,
        image: &str,
        who: Option<&RegistryCredentials>,
    ) -> Result<DistributionInspect> {
        let (name, _) = name_of(image, "")?;
        let name = name.or_latest();
        let resolved = self.registry_client().resolve(&name, who).await.map_err(error)?;
        let platforms = self.platforms(&name, &resolved, who).await?;
        Ok(DistributionInspect {
            media_type: resolved.media_type,
            digest: resolved.digest.to_string(),
            size: resolved.document.len() as u64,
            platforms,
        })
    }

    /// The platforms of what a name stands for.
    async fn platforms(
        &self,
        name: &Reference,
        resolved: &Resolved,
        who: Option<&RegistryCredentials>,
    ) -> Result<Vec<Platform>> {
        match Document::parse(&resolved.document).map_err(|error| Error::Internal(error.to_string()))? {
            Document::Index(index) => {
                Ok(index.manifests.into_iter().filter_map(|manifest| manifest.platform).collect())
            }
            Document::Manifest(manifest) => {
                let config =
                    self.registry_client().image_config(name, &manifest, who).await.map_err(error)?;
                Ok(vec![config.platform()])
            }
        }
    }
}
