//! Accepting connections, as many as the settings allow, until the server shuts down.

use crate::Settings;
use crate::backend::{Backend, Startup};
use crate::cancel::{Cancellations, Registration};
use crate::connection::Connection;
use crate::incoming::Incoming;
use crate::outgoing::Outgoing;
use crate::pending::Pending;
use crate::report::{self, Failure};
use crate::startup::{self, Login, Opening};
use millrace_types::{SqlError, SqlState};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What all connections share.
struct Shared<B> {
    backend: Arc<B>,
    settings: Settings,
    cancellations: Arc<Cancellations>,
    sessions: Arc<Semaphore>,
    pending: Pending,
}

/// Serves `listener` until `shutdown` resolves. Then nothing more is accepted, every session is told `57P01`, and the
/// call returns when all are gone or [`Settings::grace`] is over.
pub async fn serve<B: Backend>(
    listener: TcpListener,
    backend: Arc<B>,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let grace = settings.grace;
    let shared = Arc::new(Shared {
        backend,
        cancellations: Arc::default(),
        sessions: Arc::new(Semaphore::new(settings.max_connections)),
        pending: Pending::new(settings.max_pending),
        settings,
    });
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    connections.spawn(connect(shared.clone(), socket, peer));
                }
                Err(error) => refuse(&shared.pending, &error).await,
            }
        }
    }
    drop(listener);
    let reason = SqlError::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command");
    shared.cancellations.close_all(&reason);
    let all_gone = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all_gone).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections did not end in time and are dropped");
    }
    Ok(())
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended abnormally");
    }
}

/// A connection could not be accepted. When file descriptors or memory ran out, the socket stays in the queue of the
/// kernel: one that idles before its login is closed to make room, and a pause keeps the loop from spinning.
async fn refuse(pending: &Pending, error: &std::io::Error) {
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) {
        tracing::warn!(%error, "cannot accept a connection");
        pending.close_oldest();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One connection from its first byte to its last.
async fn connect<B: Backend>(shared: Arc<Shared<B>>, socket: TcpStream, peer: SocketAddr) {
    // Answers are written in one piece when they are complete: waiting for more would only delay them.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let (reader, writer) = socket.into_split();
    let mut incoming = Incoming::new(reader, shared.settings.max_message_bytes);
    let mut outgoing = Outgoing::new(writer, shared.settings.send_buffer_bytes);
    let outcome = match admit(&shared, &mut incoming, &mut outgoing).await {
        Ok(Some((login, permit))) => {
            let outcome = log_in(&shared, login, peer, incoming, outgoing).await;
            drop(permit);
            outcome
        }
        Ok(None) => return,
        Err(failure) => Err((outgoing, failure)),
    };
    if let Err((mut outgoing, Failure::Fatal(error) | Failure::Statement(error))) = outcome {
        // The client may not be reading: what it is told last must not hold the socket.
        let _ = outgoing.put(&report::fatal(&error));
        let _ = timeout(Duration::from_secs(1), outgoing.flush()).await;
    }
}

/// The startup phase, in bounded time. `None` when the connection has served its purpose or is to be closed silently.
async fn admit<B: Backend>(
    shared: &Shared<B>,
    incoming: &mut Incoming,
    outgoing: &mut Outgoing,
) -> Result<Option<(Login, OwnedSemaphorePermit)>, Failure> {
    let displaced = shared.pending.enter();
    let opening = tokio::select! {
        opened = timeout(shared.settings.authentication_timeout, startup::open(incoming, outgoing)) => match opened {
            Ok(opening) => opening?,
            Err(_) => return Ok(None),
        },
        Ok(()) = displaced => return Ok(None),
    };
    match opening {
        Opening::Login(login) => match shared.sessions.clone().try_acquire_owned() {
            Ok(permit) => Ok(Some((login, permit))),
            Err(_) => {
                Err(Failure::Fatal(SqlError::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")))
            }
        },
        Opening::Cancel { process_id, secret } => {
            shared.cancellations.cancel(process_id, secret);
            Ok(None)
        }
    }
}

/// Opens a session and runs it to its end.
async fn log_in<B: Backend>(
    shared: &Shared<B>,
    login: Login,
    peer: SocketAddr,
    incoming: Incoming,
    outgoing: Outgoing,
) -> Result<(), (Outgoing, Failure)> {
    let registration = match shared.cancellations.register() {
        Ok(registration) => registration,
        Err(error) => return Err((outgoing, Failure::Fatal(error))),
    };
    let Registration { process_id, secret, .. } = registration;
    let startup = Startup {
        user: login.user,
        database: login.database,
        parameters: login.parameters,
        peer: peer.ip(),
        process_id,
        cancel: registration.token.clone(),
    };
    let greeting = startup.clone();
    match shared.backend.connect(startup).await {
        Ok(session) => {
            let connection =
                Connection::new(incoming, outgoing, session, registration.token.clone(), shared.settings.grace);
            connection.run(&greeting, secret).await
        }
        Err(error) => Err((outgoing, Failure::Fatal(error))),
    }
}
