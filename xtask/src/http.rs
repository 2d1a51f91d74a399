//! The few HTTP calls that the demo makes, to our own server on loopback.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::tools::Outcome;

/// A caller of one server, logged in or not.
pub struct Client {
    server: SocketAddr,
    token: Option<String>,
}

impl Client {
    /// Not logged in.
    pub fn new(server: SocketAddr) -> Self {
        Self { server, token: None }
    }

    /// Logs in; later calls carry the session.
    pub fn log_in(&mut self, email: &str, password: &str) -> Outcome {
        let answer =
            self.post("/api/auth/login", &serde_json::json!({ "email": email, "password": password }))?;
        let token = answer["access_token"].as_str().ok_or("the login answer has no access_token")?;
        self.token = Some(token.to_owned());
        Ok(())
    }

    /// Whether the server answers at all.
    pub fn is_up(&self) -> bool {
        self.get("/health").is_ok()
    }

    /// GET, JSON back.
    pub fn get(&self, path: &str) -> Outcome<Value> {
        self.call("GET", path, None)
    }

    /// POST of JSON, JSON back.
    pub fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.call("POST", path, Some(body))
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Outcome<Value> {
        let mut connection = TcpStream::connect_timeout(&self.server, Duration::from_secs(5))?;
        connection.set_read_timeout(Some(Duration::from_secs(60)))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        // HTTP/1.0, so that the answer comes whole and the end of the connection ends it.
        let mut request = format!("{method} {path} HTTP/1.0\r\nHost: {}\r\n", self.server);
        if let Some(token) = &self.token {
            request += &format!("Authorization: Bearer {token}\r\n");
        }
        request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        connection.write_all(request.as_bytes())?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        parse(method, path, &answer)
    }
}

fn parse(method: &str, path: &str, answer: &str) -> Outcome<Value> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the server's answer has no end of header")?;
    let status = head.split_whitespace().nth(1).unwrap_or("no status");
    if !status.starts_with('2') {
        return Err(format!("{method} {path} answered {status}: {body}").into());
    }
    if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(body)?) }
}
