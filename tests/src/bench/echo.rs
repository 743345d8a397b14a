//! What the gateway is measured against: the same service stubs over the same mutual TLS, answering with as many bytes.
//!
//! How long an answer shall be stands where a client says its pin (`seen_size`), so that it is as long as the gateway's
//! was just before. The bare echo does nothing with what it gets. The floor does what no honest hub can leave out: it verifies the
//! item's signature, hashes what came, writes it, and answers after an `fdatasync` that it shares with all that wait.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use futures_util::StreamExt as _;
use prost::Message as _;
use seinpost_protocol::digest::Digest;
use seinpost_protocol::item::{ItemType, pae};
use seinpost_protocol::signature::PublicKey;
use seinpost_protocol::wire;
use seinpost_rpc::exchange_service_server::ExchangeService;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};

/// Commits that wait for the shared `fdatasync`: more than any load of this benchmark has in flight.
const WAITING_MAX: usize = 4096;
/// The file that the floor writes is this large and zero-filled beforehand, as the journal's segments are; it wraps.
const FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Longest answer; a receipt is some kilobytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// What protobuf takes around the answer's one field.
const AROUND_BYTES: u64 = 6;

/// Answers every submission with as many bytes as it asks for.
#[derive(Clone)]
pub(crate) struct Echo {
    floor: Option<Arc<Floor>>,
}

impl Echo {
    /// Makes an echo that answers at once.
    pub(crate) fn bare() -> Self {
        Self { floor: None }
    }

    /// Makes the floor: an echo that verifies with `key`, hashes, and syncs a file in `folder`.
    pub(crate) fn floor(key: PublicKey, folder: &Path) -> std::io::Result<Self> {
        Ok(Self { floor: Some(Arc::new(Floor::new(key, folder)?)) })
    }

    async fn answer(&self, request: wire::SubmitRequest) -> Result<wire::SubmitResponse, Status> {
        let length = request.seen_size.min(ANSWER_BYTES_MAX).saturating_sub(AROUND_BYTES);
        if let Some(floor) = &self.floor {
            floor.take(request).await?;
        }
        let record = vec![0x5a; usize::try_from(length).expect("it is bounded")].into();
        let receipt = wire::Receipt { record, ..Default::default() };
        Ok(wire::SubmitResponse { receipt: Some(receipt), consistency: Vec::new() })
    }
}

/// The least that a hub must do before it answers.
struct Floor {
    key: PublicKey,
    writer: SyncSender<(Bytes, oneshot::Sender<()>)>,
}

impl Floor {
    fn new(key: PublicKey, folder: &Path) -> std::io::Result<Self> {
        let mut file = File::create(folder.join("floor"))?;
        let zeros = vec![0; 1024 * 1024];
        for _ in 0..FILE_BYTES / zeros.len() as u64 {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        let (writer, waiting) = sync_channel(WAITING_MAX);
        std::thread::Builder::new().name("floor".into()).spawn(move || write_all(&mut file, &waiting))?;
        Ok(Self { key, writer })
    }

    async fn take(&self, request: wire::SubmitRequest) -> Result<(), Status> {
        let item = request.item.as_ref().ok_or_else(|| Status::invalid_argument("item"))?;
        let signature = item.signatures.first().ok_or_else(|| Status::invalid_argument("signature"))?;
        let message = pae(ItemType::Signal.payload_type(), &item.payload);
        self.key.verify(&message, &signature.sig).map_err(|_| Status::invalid_argument("signature"))?;
        let digest = Digest::of(&request.sealed_content);
        let mut bytes = request.encode_to_vec();
        bytes.extend_from_slice(digest.as_bytes());
        let (done, waiting) = oneshot::channel();
        self.writer.try_send((bytes.into(), done)).map_err(|_| Status::unavailable("too many wait"))?;
        waiting.await.map_err(|_| Status::internal("the writer has gone"))
    }
}

/// Takes all that waits, writes it at once, syncs once, answers all.
fn write_all(file: &mut File, waiting: &Receiver<(Bytes, oneshot::Sender<()>)>) {
    let mut at = 0;
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(511));
        let bytes = batch.iter().map(|(bytes, _)| &**bytes).collect::<Vec<_>>().concat();
        if at + bytes.len() as u64 > FILE_BYTES {
            at = 0;
        }
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.write_all(&bytes))
            .and_then(|()| file.sync_data())
            .expect("the disk takes the floor's bytes");
        at += bytes.len() as u64;
        for (_, done) in batch {
            // Whoever does not wait any longer needs no answer.
            let _ = done.send(());
        }
    }
}

type Answers = Pin<Box<dyn futures_util::Stream<Item = Result<wire::SubmitStreamResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ExchangeService for Echo {
    type SubmitStreamStream = Answers;
    type ReceiveStream = Pin<Box<dyn futures_util::Stream<Item = Result<wire::ReceiveResponse, Status>> + Send>>;

    async fn submit(&self, request: Request<wire::SubmitRequest>) -> Result<Response<wire::SubmitResponse>, Status> {
        self.answer(request.into_inner()).await.map(Response::new)
    }

    async fn submit_stream(
        &self,
        request: Request<Streaming<wire::SubmitStreamRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let echo = self.clone();
        let answers = request
            .into_inner()
            .map(move |request| {
                let echo = echo.clone();
                async move {
                    let submit = request?.submit.ok_or_else(|| Status::invalid_argument("submit"))?;
                    let accepted = echo.answer(submit).await?;
                    let result = Some(wire::submit_stream_response::Result::Accepted(accepted));
                    Ok(wire::SubmitStreamResponse { item_id: String::new(), result })
                }
            })
            .buffered(64);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn receive(&self, _: Request<wire::ReceiveRequest>) -> Result<Response<Self::ReceiveStream>, Status> {
        Err(Status::unimplemented("the echo takes submissions only"))
    }

    async fn get_item(&self, _: Request<wire::GetItemRequest>) -> Result<Response<wire::GetItemResponse>, Status> {
        Err(Status::unimplemented("the echo takes submissions only"))
    }

    async fn list_items(
        &self,
        _: Request<wire::ListItemsRequest>,
    ) -> Result<Response<wire::ListItemsResponse>, Status> {
        Err(Status::unimplemented("the echo takes submissions only"))
    }
}
