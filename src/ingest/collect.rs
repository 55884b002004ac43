use std::{pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::IngestLayer;
use crate::{BoxError, Error, Kind};

/// The whole of `body`, and its place in the memory of all.
pub(super) async fn collect<B>(
    body: B,
    config: &IngestLayer,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Error>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let announced = body.size_hint().lower();
    if announced > config.limit as u64 {
        return Err(too_large(config.limit));
    }
    let mut place = Place::new(config.memory.as_ref());
    place.grow_to(announced as usize)?;
    let bytes = tokio::time::timeout(config.within, read(body, config.limit, &mut place))
        .await
        .map_err(|_| Error::new(Kind::RequestTimeout, "the request's body did not arrive in time"))??;
    Ok((bytes, place.taken))
}

async fn read<B>(body: B, limit: usize, place: &mut Place<'_>) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let broken =
        |error: B::Error| Error::new(Kind::InvalidRequest, "the request's body broke off").with_source(error);
    let mut body = pin!(body);
    let announced = body.size_hint().lower() as usize;
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let length = first.len() + whole.len() + data.len();
        if length > limit {
            return Err(too_large(limit));
        }
        place.grow_to(length)?;
        // A body in one piece, as most are, is never copied.
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(length.max(announced));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

fn too_large(limit: usize) -> Error {
    Error::new(Kind::TooLarge, format!("the request's body is larger than {limit} bytes"))
}

/// A request's share of the memory for all bodies.
struct Place<'a> {
    memory: Option<&'a Arc<Semaphore>>,
    taken: Option<OwnedSemaphorePermit>,
}

impl<'a> Place<'a> {
    fn new(memory: Option<&'a Arc<Semaphore>>) -> Self {
        Self { memory, taken: None }
    }

    fn grow_to(&mut self, bytes: usize) -> Result<(), Error> {
        let Some(memory) = self.memory else { return Ok(()) };
        let has = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(1024).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let full = || {
            Error::new(Kind::Overloaded, "the gateway has no memory left for the request's body")
                .with_retry_after(Duration::from_secs(1))
        };
        let more = u32::try_from(more).map_err(|_| full())?;
        let permit = memory.clone().try_acquire_many_owned(more).map_err(|_| full())?;
        match &mut self.taken {
            Some(taken) => taken.merge(permit),
            None => self.taken = Some(permit),
        }
        Ok(())
    }
}
