//! Calls of the service go right to it. The router that tonic has for several
//! services takes a twentieth of the server's CPU time for an accept: it looks
//! the path up in a tree, and boxes body and future once more.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::Either;
use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tower::{Layer, Service};

/// Sends a service's own calls past the services that it is laid over.
#[derive(Clone)]
pub struct DirectLayer<D>(pub D);

impl<S, D: Clone> Layer<S> for DirectLayer<D> {
    type Service = Direct<S, D>;

    fn layer(&self, others: S) -> Direct<S, D> {
        Direct { direct: self.0.clone(), others }
    }
}

/// The service that [`DirectLayer`] makes.
#[derive(Clone)]
pub struct Direct<S, D> {
    direct: D,
    others: S,
}

impl<S, D> Service<Request<Body>> for Direct<S, D>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    D: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + NamedService,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<D::Future, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let Poll::Ready(Ok(())) = self.direct.poll_ready(context) else { return Poll::Pending };
        self.others.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(D::NAME));
        if method.is_some_and(|method| method.starts_with('/')) {
            Either::Left(self.direct.call(request))
        } else {
            Either::Right(self.others.call(request))
        }
    }
}
