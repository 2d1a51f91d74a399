//! Web servers that speak HTTP/2 only: Debian's nghttpd, in the clear and inside TLS; and what pages tell.

mod support;

use std::fs;

use portreeve_model::{SafeText, Service};
use support::{
    Script, identify,
    process::{certificate, start},
    serve,
};

fn text(value: Option<&SafeText>) -> &str {
    value.map_or("", SafeText::as_str)
}

fn assert_page(service: &Service) {
    assert_eq!(text(service.name.as_ref()), "http", "{service:?}");
    let http = service.http.as_ref().unwrap_or_else(|| panic!("{service:?}"));
    assert_eq!((http.status, text(http.title.as_ref())), (200, "Only two"), "{http:?}");
    assert!(text(http.server.as_ref()).starts_with("nghttpd"), "{http:?}");
}

#[tokio::test]
async fn a_server_of_http2_in_the_clear_is_known_by_its_page() {
    let Some(server) = start("nghttpd", "nghttp2-server", |folder, port| {
        fs::write(folder.join("index.html"), "<title>Only two</title>").expect("a page");
        let folder = folder.display().to_string();
        ["--no-tls", "-a", "127.0.0.1", "-d", &folder, &port.to_string()].map(str::to_owned).to_vec()
    }) else {
        return;
    };
    assert_page(&identify(server.port).await);
}

#[tokio::test]
async fn a_tls_server_that_agrees_to_http2_alone_is_known_by_its_page() {
    let Some(server) = start("nghttpd", "nghttp2-server", |folder, port| {
        fs::write(folder.join("index.html"), "<title>Only two</title>").expect("a page");
        let (key, cert) = certificate(folder);
        let folder = folder.display().to_string();
        ["-a", "127.0.0.1", "-d", &folder, &port.to_string(), &key, &cert].map(str::to_owned).to_vec()
    }) else {
        return;
    };
    let service = identify(server.port).await;
    assert_page(&service);
    let tls = service.tls.expect("TLS");
    assert_eq!(tls.alpn.as_ref().map(SafeText::as_str), Some("h2"), "{tls:?}");
}

#[tokio::test]
async fn redirects_servers_and_the_named_icon_are_told() {
    let server = serve(|_| {
        Script::Answer(
            b"HTTP/1.1 302 Found\r\nServer: nginx/1.22.1\r\nVia: 1.1 varnish\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n".to_vec(),
        )
    })
    .await;
    let http = identify(server.port()).await.http.expect("a page");
    let texts = |list: &[SafeText]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&http.redirects), ["/login"]);
    assert_eq!(texts(&http.servers), ["nginx/1.22.1", "1.1 varnish"]);
}
