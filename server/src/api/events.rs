//! `/api/events`: what happens, as it happens (server-sent events).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event as Message, KeepAlive, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::error::RecvError;
use utoipa_axum::routes;

use super::ApiRouter;
use crate::{
    auth::{Access, Caller, Permission},
    live::Event,
    state::AppState,
};

/// A comment line is sent after so much silence, so that proxies keep the connection and dead ones are noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A stream ends after this, and the browser comes back by itself: then its session and rights are looked at again.
const STREAM_LIFE: Duration = Duration::from_secs(10 * 60);

/// The routes of this file.
pub fn routes() -> ApiRouter {
    ApiRouter::new().route(Access::Needs(Permission::InventoryRead), routes!(events))
}

/// Follow what happens: a stream of named events with JSON data.
///
/// `scan`, `port`, `alert`, `agent` carry what their schemas say; `resync` means that events were lost and everything
/// should be read again. Users who see only some networks get only what is about those.
#[utoipa::path(get, path = "/api/events", tag = "events", operation_id = "events",
    responses((status = 200, body = Event, content_type = "text/event-stream")))]
async fn events(
    State(app): State<AppState>,
    caller: Caller,
) -> Sse<impl Stream<Item = Result<Message, Infallible>> + Send> {
    let received = stream::unfold(app.live.subscribe(), |mut receiver| async move {
        let event = match receiver.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => Arc::new(Event::Resync),
            Err(RecvError::Closed) => return None,
        };
        Some((event, receiver))
    });
    let end = async move {
        tokio::select! {
            () = app.shutdown.cancelled_owned() => {}
            () = tokio::time::sleep(STREAM_LIFE) => {}
        }
    };
    let visible = received
        .filter(move |event| std::future::ready(sees(&caller, event)))
        .filter_map(|event| std::future::ready(message(&event)))
        .map(Ok)
        .take_until(end);
    // The first line tells the client that the stream is open, before anything happens.
    let opened = stream::once(std::future::ready(Ok(Message::default()
        .comment("open")
        .retry(Duration::from_secs(2)))));
    Sse::new(opened.chain(visible)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn sees(caller: &Caller, event: &Event) -> bool {
    match event {
        Event::Agent(_) | Event::Resync => true,
        // What is about the whole installation is not for those who see a part of it.
        Event::Alert(_) | Event::Port(_) | Event::Scan(_) => match event.network_id() {
            Some(network) => caller.sees_network(network),
            None => caller.visible_networks().is_none(),
        },
    }
}

fn message(event: &Event) -> Option<Message> {
    let whole = serde_json::to_value(event).ok()?;
    let data = whole.get("data").cloned().unwrap_or_else(|| serde_json::json!({}));
    Message::default().event(event.name()).json_data(data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::Role,
        live::{AgentEvent, AlertEvent},
        test_support::TestApp,
    };
    use axum::{body::Body, http::Request};
    use tower::ServiceExt;

    fn alert(id: i64, network_id: Option<i64>) -> Event {
        Event::Alert(AlertEvent {
            id,
            alert_type: "new_port".to_owned(),
            severity: "high".to_owned(),
            network_id,
            ip: None,
            port: None,
            message: "line\nbreak".to_owned(),
        })
    }

    /// Opens a stream, lets `happen` happen, ends it by stopping the server; what was received.
    async fn received(app: &TestApp, token: &str, happen: impl FnOnce(&TestApp)) -> String {
        let request =
            Request::get("/api/events").header("authorization", token).header("accept-encoding", "gzip");
        let response = app.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert!(
            !response.headers().contains_key("content-encoding"),
            "a compressed stream would be held back"
        );
        happen(app);
        let mut body = response.into_body().into_data_stream();
        let mut text = String::new();
        while !text.contains("event: agent") {
            text.push_str(&String::from_utf8_lossy(&body.next().await.unwrap().unwrap()));
        }
        app.state().shutdown.cancel();
        while let Some(chunk) = body.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
        }
        text
    }

    fn end() -> Event {
        Event::Agent(AgentEvent { id: 1, name: "one".to_owned(), online: false })
    }

    #[tokio::test]
    async fn events_arrive_named_and_the_stream_ends_with_the_server() {
        let app = TestApp::new().await;
        let viewer = app.login(Role::Viewer).await;
        let text = received(&app, viewer.header_value("authorization"), |app| {
            app.state().live.publish(alert(7, None));
            app.state().live.publish(end());
        })
        .await;
        assert!(text.contains("event: alert\ndata: {"), "{text}");
        assert!(text.contains(r#""message":"line\nbreak""#), "{text}");
    }

    #[tokio::test]
    async fn limited_users_hear_of_their_networks_only() {
        let app = TestApp::new().await;
        let network: i64 = sqlx::query_scalar(
            "insert into networks (name, cidr, port_spec) values ('a', '10.99.0.0/24', '22') returning id",
        )
        .fetch_one(app.pool())
        .await
        .unwrap();
        let viewer = app.login_limited(Role::Viewer, &[network]).await;
        let text = received(&app, viewer.header_value("authorization"), |app| {
            app.state().live.publish(alert(1, Some(network)));
            app.state().live.publish(alert(2, Some(network + 1)));
            app.state().live.publish(alert(3, None));
            app.state().live.publish(end());
        })
        .await;
        assert!(
            text.contains(r#""id":1"#) && !text.contains(r#""id":2"#) && !text.contains(r#""id":3"#),
            "{text}"
        );
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_to_read_again() {
        let app = TestApp::new().await;
        let viewer = app.login(Role::Viewer).await;
        let text = received(&app, viewer.header_value("authorization"), |app| {
            (0..3_000).for_each(|id| app.state().live.publish(alert(id, None)));
            app.state().live.publish(end());
        })
        .await;
        assert!(text.contains("event: resync\ndata: {}"), "{}", &text[..300]);
    }

    #[tokio::test]
    async fn strangers_hear_nothing() {
        TestApp::new().await.anonymous().get("/api/events").await.assert_status(401);
    }
}
