use std::sync::Arc;

use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
}

#[derive(Serialize)]
pub(super) struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

impl<'a> Model<'a> {
    pub(super) fn new(id: &'a str) -> Self {
        let owned_by = id.split_once('/').map_or("bartizan", |(provider, _)| provider);
        Self { id, object: "model", created: 0, owned_by }
    }
}

pub(super) fn list(models: &[Arc<str>]) -> List<'_> {
    List { object: "list", data: models.iter().map(|id| Model::new(id)).collect() }
}
