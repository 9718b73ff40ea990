//! What ureq's connectors do not tell: how many connections were opened, and that it was TLS which
//! failed. Both wrap ureq's own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ureq::Error;
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, RustlsConnector, TcpConnector, Transport,
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
    type Out = <TcpConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        self.opened.fetch_add(1, Relaxed);
        self.inner.connect(details, chained)
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
    type Out = <RustlsConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        if chained.is_none() {
            return Err(Error::ConnectionFailed);
        }
        self.0
            .connect(details, chained)
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
