use std::{error::Error, io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{MissedTickBehavior, interval},
};

use super::wire::{ANTHROPIC_ANSWER, OPENAI_ANSWER};

const OPENAI_EVENT: &str = "data: {\"id\":\"chatcmpl-DFnKq3V0mWcZr8yTt1sPbXe4hLd2a\",\"object\":\"chat.completion.chunk\",\"created\":1772656915,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_8bda4d3a2c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" lifetime\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"9AL59\"}\n\n";

const ANTHROPIC_START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-sonnet-4-5-20250929\",\"id\":\"msg_01XFDUDYJgAACzvnptvVoYEL\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":251,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1,\"service_tier\":\"standard\"}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";

const ANTHROPIC_EVENT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" lifetime of the pool\"}}\n\n";

/// A provider of both kinds, by path. Whole answers come at once; streams have no end, and the pace that
/// the request's `accept` asks for: `text/event-stream;pace=50` is an event every 50 ms.
pub async fn serve() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listens on http://{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(connection(socket));
    }
}

async fn connection(mut socket: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(128 << 10);
    loop {
        let Some(head) = read_head(&mut socket, &mut buffer).await? else { return Ok(()) };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let number = |name: &str| {
            let after = text.split_once(name)?.1.split(['\r', ';']).next()?;
            after.trim().parse::<usize>().ok()
        };
        let mut body = buffer.len() - head;
        let length = number("content-length:").unwrap_or(0);
        buffer.clear();
        while body < length {
            body += socket.read_buf(&mut buffer).await?;
            buffer.clear();
        }
        let is_anthropic = text.starts_with("post /v1/messages");
        if let Some(pace) = number(";pace=") {
            return stream(socket, is_anthropic, Duration::from_millis(pace as u64)).await;
        }
        let answer = if is_anthropic { ANTHROPIC_ANSWER } else { OPENAI_ANSWER };
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_up\r\ncontent-length:";
        socket.write_all(format!("{head} {}\r\n\r\n{answer}", answer.len()).as_bytes()).await?;
    }
}

/// Reads until the end of a request's head; returns its length, or nothing if the client is gone.
async fn read_head(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(at) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

async fn stream(mut socket: TcpStream, is_anthropic: bool, pace: Duration) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    if is_anthropic {
        socket.write_all(chunk(ANTHROPIC_START).as_bytes()).await?;
    }
    let event = chunk(if is_anthropic { ANTHROPIC_EVENT } else { OPENAI_EVENT });
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut nothing = [0];
    loop {
        tokio::select! {
            _ = ticks.tick() => socket.write_all(event.as_bytes()).await?,
            // The other side has closed.
            _ = socket.read(&mut nothing) => return Ok(()),
        }
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}
