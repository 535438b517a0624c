//! What the door costs on the hot path, without sockets. A measurement, run by hand:
//! `cargo test -p http-door --release -- --ignored --nocapture`.

use std::time::Instant;

use axum::body::Body;
use axum::http::{Method, Request};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::support::Api;

const ROUNDS: u32 = 50_000;

async fn micros_each(api: &Api, method: Method) -> f64 {
    let service = TowerToHyperService::new(api.router.clone());
    let value = Bytes::from(vec![7; 256]);
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let body = if method == Method::PUT { value.clone() } else { Bytes::new() };
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = "/v1/kv/ks/t/satellite-25544?w=2".parse().unwrap();
        if method == Method::GET {
            *request.uri_mut() = "/v1/kv/ks/t/satellite-25544?r=2".parse().unwrap();
        }
        let answer = service.call(request).await.unwrap();
        assert!(answer.status().is_success());
        let _ = answer.into_body().collect().await;
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
}

#[tokio::test]
#[ignore = "a measurement"]
async fn a_put_and_a_get_cost_a_few_microseconds() {
    let api = Api::new().await;
    let target = "/v1/kv/ks/t/satellite-25544";
    api.put(target, None, "value").await;
    let get = micros_each(&api, Method::GET).await;
    // Each write of the loop is blind, so the node is told to answer without keeping it.
    api.node.state().keeps = false;
    let put = micros_each(&api, Method::PUT).await;
    println!("put {put:.2} us, get {get:.2} us, the map behind included");
    assert!(put < 50.0 && get < 50.0);
}
