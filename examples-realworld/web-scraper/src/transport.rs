//! What ureq's connectors do not tell: how many connections were opened, that it was TLS which
//! failed, and that a body without a length was cut off. All wrap ureq's own.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport,
};

/// ureq's TCP, counting the connections that it opens.
pub struct Tcp {
    inner: TcpConnector,
    opened: Arc<AtomicUsize>,
}

impl Tcp {
    pub fn new(opened: Arc<AtomicUsize>) -> Self {
        Tcp {
            inner: TcpConnector::default(),
            opened,
        }
    }
}

impl<In: Transport> Connector<In> for Tcp {
    type Out = Strict<<TcpConnector as Connector<In>>::Out>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        self.opened.fetch_add(1, Relaxed);
        Ok(self.inner.connect(details, chained)?.map(Strict))
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Tcp")
    }
}

/// ureq's TLS, shared by the agents of all workers: the trusted roots are read only once.
#[derive(Clone, Debug, Default)]
pub struct SharedTls(Arc<RustlsConnector>);

/// Why a connection could not be secured.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl<In: Transport> Connector<In> for SharedTls {
    type Out = Strict<<RustlsConnector as Connector<In>>::Out>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if chained.is_none() {
            return Err(Error::ConnectionFailed);
        }
        let secured = self.0.connect(details, chained);
        secured
            .map(|connection| connection.map(Strict))
            .map_err(|error| match error {
                Error::Timeout(_) => error,
                // In the middle of a handshake a closed connection is a refusal, too.
                Error::Io(error) => match error.downcast::<Error>() {
                    Ok(timeout @ Error::Timeout(_)) => timeout,
                    Ok(other) => Error::Other(TlsError(other.to_string()).into()),
                    Err(error) => Error::Other(TlsError(error.to_string()).into()),
                },
                other => Error::Other(TlsError(other.to_string()).into()),
            })
    }
}

/// A connection that does not end in order has failed.
///
/// ureq takes a reset, and the end of a TLS connection that the server did not announce, for the
/// end of a page that has no length: a page that was cut off would count as complete.
#[derive(Debug)]
pub struct Strict<T>(T);

impl<T: Transport> Transport for Strict<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        use ErrorKind::{ConnectionAborted, ConnectionReset, UnexpectedEof};
        self.0.await_input(timeout).map_err(|error| match error {
            Error::Io(error)
                if matches!(
                    error.kind(),
                    ConnectionReset | ConnectionAborted | UnexpectedEof
                ) =>
            {
                io::Error::new(ErrorKind::BrokenPipe, error).into()
            }
            other => other,
        })
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
