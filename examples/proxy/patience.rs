use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// A connection whose other side has to take what it is sent.
///
/// While a client takes nothing, its answer isn't asked for more, so that no deadline of the answer can
/// fire: without this it would hold its place, its reservation and the provider's connection for ever.
pub struct Patient<C> {
    inner: C,
    patience: Duration,
    /// Made when the other side is waited for the first time.
    alarm: Option<Pin<Box<Sleep>>>,
    waits: bool,
}

impl<C> Patient<C> {
    /// Breaks the connection when nothing of what is written is taken for as long as `patience`.
    pub fn new(inner: C, patience: Duration) -> Self {
        Self { inner, patience, alarm: None, waits: false }
    }

    /// What has become of a write, unless it has taken too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        let due = Instant::now() + self.patience;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if !self.waits {
            self.waits = true;
            alarm.as_mut().reset(due);
        }
        alarm.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Patient<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Patient<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (server, _client) = duplex(8);
        let begun = Instant::now();

        let written = Patient::new(server, PATIENCE).write_all(&[0; 100]).await;

        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_little_at_a_time_gets_all_of_it() {
        let (server, mut client) = duplex(8);
        let slow = tokio::spawn(async move {
            let mut taken = 0;
            while taken < 100 {
                tokio::time::sleep(PATIENCE / 2).await;
                taken += client.read(&mut [0; 8]).await.unwrap();
            }
            taken
        });

        Patient::new(server, PATIENCE).write_all(&[0; 100]).await.unwrap();

        assert_eq!(slow.await.unwrap(), 100);
    }
}
