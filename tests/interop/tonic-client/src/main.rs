//! Usage: tonic-client ADDRESS [CA.pem]
//!
//! Calls grpc.testing.TestService and interop.Probe at ADDRESS (host:port) with tonic, over TLS where an
//! authority is given. Messages are bytes made by hand, so there is no generated code. Exit status 1 and a
//! sentence for the first thing that is not as it should be.

use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

type Failure = Box<dyn std::error::Error>;

/// Messages as they are.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; source.remaining()];
        source.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

fn path(method: &str) -> PathAndQuery {
    method.parse().expect("a path")
}

fn check(holds: bool, what: &str) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(what.into())
    }
}

/// protobuf: field 1, length-delimited; texts here are short.
fn text(value: &[u8]) -> Vec<u8> {
    [&[0x0a, value.len() as u8], value].concat()
}

/// StreamingOutputCallRequest for one answer with a body of `size` < 128 bytes.
fn one_answer(size: u8) -> Vec<u8> {
    vec![0x12, 2, 0x08, size]
}

const ECHO: &str = "/interop.Probe/Echo";
const FULL_DUPLEX: &str = "/grpc.testing.TestService/FullDuplexCall";
const STREAMING_INPUT: &str = "/grpc.testing.TestService/StreamingInputCall";
const STREAMING_OUTPUT: &str = "/grpc.testing.TestService/StreamingOutputCall";
const WAIT: &str = "/interop.Probe/Wait";
const RAISE: &str = "/interop.Probe/Raise";
const METADATA: &str = "/interop.Probe/Metadata";

async fn connect(address: &str, authority: Option<&str>) -> Result<Channel, Failure> {
    let Some(file) = authority else {
        return Ok(Endpoint::new(format!("http://{address}"))?.connect().await?);
    };
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(std::fs::read(file)?))
        .domain_name("localhost");
    Ok(Endpoint::new(format!("https://{address}"))?
        .tls_config(tls)?
        .connect()
        .await?)
}

async fn unary(grpc: &mut Grpc<Channel>, method: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    grpc.ready()
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    Ok(grpc
        .unary(Request::new(message), path(method), Raw)
        .await?
        .into_inner())
}

async fn cardinalities(grpc: &mut Grpc<Channel>) -> Result<(), Failure> {
    let answer = unary(grpc, ECHO, text(b"unary")).await?;
    check(answer == text(b"unary"), "unary: the answer is another")?;

    grpc.ready().await?;
    let asked: Vec<u8> = [3, 5, 7].into_iter().flat_map(one_answer).collect();
    let mut answers = grpc
        .server_streaming(Request::new(asked), path(STREAMING_OUTPUT), Raw)
        .await?
        .into_inner();
    let mut sizes = Vec::new();
    while let Some(answer) = answers.message().await? {
        sizes.push(answer.len());
    }
    // Each body is in a Payload in the answer: two prefixes of two bytes.
    check(sizes == [7, 9, 11], "server streaming: other answers")?;

    grpc.ready().await?;
    // StreamingInputCallRequest { payload { body: "abc" } }, four times.
    let messages = tokio_stream::iter(vec![text(&[0x12, 3, b'a', b'b', b'c']); 4]);
    let answer = grpc
        .client_streaming(Request::new(messages), path(STREAMING_INPUT), Raw)
        .await?
        .into_inner();
    check(answer == [0x08, 12], "client streaming: another size")?;

    grpc.ready().await?;
    let messages = tokio_stream::iter([3, 5].map(one_answer));
    let mut answers = grpc
        .streaming(Request::new(messages), path(FULL_DUPLEX), Raw)
        .await?
        .into_inner();
    let mut sizes = Vec::new();
    while let Some(answer) = answers.message().await? {
        sizes.push(answer.len());
    }
    check(sizes == [7, 9], "streaming both ways: other answers")
}

async fn failures(grpc: &mut Grpc<Channel>) -> Result<(), Failure> {
    let failed = unary(grpc, RAISE, text(b"hunter2")).await.expect_err("a failure");
    check(failed.code() == Code::Internal, "an exception is not INTERNAL")?;
    check(
        !failed.message().contains("hunter2"),
        "an exception's text reaches the client",
    )?;
    let failed = unary(grpc, "/interop.Probe/Nothing", Vec::new())
        .await
        .expect_err("a failure");
    check(
        failed.code() == Code::Unimplemented,
        "an unknown method is not UNIMPLEMENTED",
    )?;

    grpc.ready().await?;
    let mut request = Request::new(text(b"tonic's deadline"));
    request.set_timeout(Duration::from_millis(100));
    let failed = grpc.unary(request, path(WAIT), Raw).await.expect_err("a failure");
    // tonic's own timer says CANCELLED where it is quicker than the server.
    check(
        matches!(failed.code(), Code::DeadlineExceeded | Code::Cancelled),
        "a deadline is not kept",
    )?;
    unary(grpc, "/interop.Probe/Cancelled", text(b"tonic's deadline")).await?;
    Ok(())
}

async fn metadata(grpc: &mut Grpc<Channel>) -> Result<(), Failure> {
    grpc.ready().await?;
    let mut request = Request::new(text(b"x"));
    request.metadata_mut().insert("name", "value".parse()?);
    request.metadata_mut().insert_bin(
        "name-bin",
        tonic::metadata::MetadataValue::from_bytes(b"\x00\xff"),
    );
    let response = grpc.unary(request, path(METADATA), Raw).await?;
    let found = response.metadata();
    check(
        found.get("name").is_some_and(|value| value == "value"),
        "metadata is lost",
    )?;
    let binary = found
        .get_bin("name-bin")
        .ok_or("binary metadata is lost")?
        .to_bytes()?;
    check(binary.as_ref() == b"\x00\xff", "binary metadata is another")
}

async fn compression(channel: Channel) -> Result<(), Failure> {
    let mut grpc = Grpc::new(channel)
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    // BytesValue with 5,000 bytes: tag, length in two bytes, bytes.
    let message = [&[0x0a, 0x88, 0x27][..], &[7; 5000]].concat();
    let answer = unary(&mut grpc, ECHO, message.clone()).await?;
    check(answer == message, "gzip: the answer is another")
}

async fn run(address: &str, authority: Option<&str>) -> Result<(), Failure> {
    let channel = connect(address, authority).await?;
    let mut grpc = Grpc::new(channel.clone());
    cardinalities(&mut grpc).await?;
    failures(&mut grpc).await?;
    metadata(&mut grpc).await?;
    compression(channel).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(address) = arguments.first() else {
        eprintln!("usage: tonic-client ADDRESS [CA.pem]");
        std::process::exit(2);
    };
    if let Err(error) = run(address, arguments.get(1).map(String::as_str)).await {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
