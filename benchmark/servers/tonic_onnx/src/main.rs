//! tonic and onnxruntime: `tonic-onnx SERVICE.json` serves the workload on a port of 127.0.0.1.
//!
//! One thread of tokio, one of onnxruntime, mimalloc; every request is decoded by prost, vectorized, run by
//! itself and answered, as the other comparison servers do it. Prints `listening on ADDRESS` when it is ready.

mod vectorization;

use std::error::Error;
use std::path::Path;
use std::sync::Mutex;

use ort::session::Session;
use ort::value::TensorRef;
use tokio::net::TcpListener;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

use hushar::hushar_server::{Hushar, HusharServer};
use hushar::{InferenceRequest, InferenceResponse, OutputRow};
use vectorization::Vectorization;

// The protos hold the log's messages too.
#[allow(dead_code)]
mod hushar {
    tonic::include_proto!("hushar");
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const MAX_MESSAGE_BYTES: usize = 64 << 20;

struct Handler {
    vectorization: Vectorization,
    session: Mutex<Session>,
    input: String,
}

impl Handler {
    fn new(service: &Path) -> Result<Self, Box<dyn Error>> {
        let folder = service.parent().unwrap_or(Path::new("."));
        let configuration = json(service)?;
        let named = |key: &str| configuration[key].as_str().map(|name| folder.join(name)).ok_or(format!("no {key}"));
        let vectorization = Vectorization::new(&json(&named("vectorization_instruction_path")?)?)?;
        let environment = ort::init().build()?;
        let session = Session::builder(&environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .commit_from_file(named("model_path")?)?;
        let input = session.inputs()[0].name().to_owned();
        Ok(Self { vectorization, session: Mutex::new(session), input })
    }

    fn score(&self, request: InferenceRequest) -> Result<InferenceResponse, Box<dyn Error>> {
        let mut matrix = Vec::new();
        for row in &request.inputs {
            self.vectorization.row(row, &mut matrix)?;
        }
        let rows = request.inputs.len();
        let tensor = TensorRef::from_array_view(([rows, matrix.len() / rows.max(1)], matrix.as_slice()))?;
        let mut session = self.session.lock().map_err(|_| "a call has failed inside the model")?;
        let outputs = session.run(ort::inputs![self.input.as_str() => tensor])?;
        let (_, scores) = outputs[0].try_extract_tensor::<f32>()?;
        let rows = request.inputs.into_iter().zip(scores.chunks_exact(scores.len() / rows.max(1)));
        let outputs = rows.map(|(row, scores)| OutputRow { row_id: row.row_id, scores: scores.to_vec() }).collect();
        Ok(InferenceResponse { request_id: request.request_id, outputs })
    }
}

#[tonic::async_trait]
impl Hushar for Handler {
    async fn inference_service(
        &self,
        request: Request<InferenceRequest>,
    ) -> Result<Response<InferenceResponse>, Status> {
        match self.score(request.into_inner()) {
            Ok(response) => Ok(Response::new(response)),
            Err(error) => Err(Status::invalid_argument(error.to_string())),
        }
    }
}

fn json(path: &Path) -> Result<serde_json::Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = std::env::args_os().nth(1).ok_or("usage: tonic-onnx SERVICE.json")?;
    let handler = Handler::new(Path::new(&service))?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("listening on {}", listener.local_addr()?);
    // Here and not with Server::tcp_nodelay, which says nothing to connections that come by `serve_with_incoming`.
    let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(HusharServer::new(handler).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}
