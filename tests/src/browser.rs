//! [`Browser`]: a headless Chromium that tests drive over its DevTools protocol, by two pipes.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use peers::program;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{LONG, Process, Recipe, wait_for};

/// A running browser.
pub struct Browser {
    wire: Arc<Wire>,
    reader: JoinHandle<()>,
    _process: Process,
}

/// A window of it.
pub struct Tab {
    wire: Arc<Wire>,
    session: String,
}

/// How a page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// CSS pixels.
    pub width: u32,
    /// CSS pixels.
    pub height: u32,
    /// Whether the user prefers dark colours.
    pub is_dark: bool,
}

/// Commands to the browser, their answers, and its events.
struct Wire {
    commands: AsyncMutex<pipe::Sender>,
    next: AtomicU64,
    answers: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    /// All events so far, in order.
    events: Mutex<Vec<Value>>,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not there, or does not start.
    pub async fn start() -> Self {
        let folder = Process::folder_for("chromium");
        let [commands, answers] = ["commands", "answers"].map(|name| fifo(folder.path(), name));
        // Both ends are open here, so that neither side waits for the other.
        let both = || {
            let mut options = pipe::OpenOptions::new();
            options.read_write(true);
            options
        };
        let commands = both().open_sender(commands).unwrap();
        let answers = both().open_receiver(answers).unwrap();
        let home = folder.path().to_string_lossy().into_owned();
        let chromium = program("chromium", "chromium")
            .to_string_lossy()
            .into_owned();
        let arguments = [
            "-c",
            "exec \"$@\" 3<commands 4>answers",
            "sh",
            &chromium,
            "--headless=new",
            "--remote-debugging-pipe",
            // Tests may run as root, and show only our own pages.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--hide-scrollbars",
            "--no-first-run",
            "--no-default-browser-check",
            "--force-color-profile=srgb",
            "--font-render-hinting=none",
            "--lang=en-US",
            "--user-data-dir=profile",
            "about:blank",
        ];
        let recipe = Recipe {
            program: "/bin/sh".into(),
            arguments: arguments.map(Into::into).into(),
            environment: vec![("HOME".to_owned(), home)],
        };
        let process = Process::start("chromium", folder, recipe);
        let wire = Arc::new(Wire {
            commands: AsyncMutex::new(commands),
            next: AtomicU64::new(1),
            answers: Mutex::default(),
            events: Mutex::default(),
        });
        let reader = tokio::spawn(read(answers, Arc::clone(&wire)));
        let browser = Self {
            wire,
            reader,
            _process: process,
        };
        browser
            .wire
            .call(None, "Browser.getVersion", &json!({}))
            .await;
        browser
    }

    /// Opens a window.
    pub async fn tab(&self, look: Look) -> Tab {
        let wire = Arc::clone(&self.wire);
        let created = wire
            .call(None, "Target.createTarget", &json!({"url": "about:blank"}))
            .await;
        let attach = json!({"targetId": created["targetId"], "flatten": true});
        let attached = wire.call(None, "Target.attachToTarget", &attach).await;
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        let tab = Tab { wire, session };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        tab.show(look).await;
        tab
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Tab {
    /// Changes how pages are shown.
    pub async fn show(&self, look: Look) {
        let metrics = json!({
            "width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.width < 500,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        let scheme = if look.is_dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media).await;
    }

    /// Turns scripts of pages off.
    pub async fn disable_scripts(&self) {
        self.call(
            "Emulation.setScriptExecutionDisabled",
            json!({"value": true}),
        )
        .await;
    }

    /// Opens a page, and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        let before = self.loads();
        let opened = self.call("Page.navigate", json!({"url": url})).await;
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
        self.wait_loaded(before).await;
    }

    /// Does something that leads to another page, and waits until that is loaded.
    pub async fn follow(&self, step: impl Future<Output = ()>) {
        let before = self.loads();
        step.await;
        self.wait_loaded(before).await;
    }

    fn loads(&self) -> usize {
        self.events("Page.loadEventFired").len()
    }

    async fn wait_loaded(&self, before: usize) {
        wait_for("a page to be loaded", LONG, || async {
            match self.loads() > before {
                true => Ok(()),
                false => Err("not yet".to_owned()),
            }
        })
        .await;
    }

    /// The value of an expression of JavaScript in the page.
    ///
    /// # Panics
    /// When it throws.
    pub async fn eval(&self, expression: &str) -> Value {
        let evaluate =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let evaluated = self.call("Runtime.evaluate", evaluate).await;
        let thrown = evaluated.get("exceptionDetails");
        assert!(thrown.is_none(), "{expression}: {evaluated}");
        evaluated["result"]["value"].clone()
    }

    /// The text that an expression is.
    pub async fn text(&self, expression: &str) -> String {
        let value = self.eval(expression).await;
        value
            .as_str()
            .unwrap_or_else(|| panic!("{expression}: {value}"))
            .to_owned()
    }

    /// The number that an expression is.
    pub async fn number(&self, expression: &str) -> f64 {
        let value = self.eval(expression).await;
        value
            .as_f64()
            .unwrap_or_else(|| panic!("{expression}: {value}"))
    }

    /// Waits until an expression is true.
    pub async fn wait_until(&self, expression: &str) {
        wait_for(expression, LONG, || async {
            match self.eval(expression).await {
                Value::Bool(true) => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
    }

    /// Presses a key: `Tab`, `Enter`, ` `, or another one that has a name.
    pub async fn press(&self, key: &str) {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            " " => ("Space", 32, " "),
            other => panic!("the harness does not know the key {other}"),
        };
        let mut event = json!({"type": "rawKeyDown", "key": key, "code": code, "windowsVirtualKeyCode": number});
        if !text.is_empty() {
            event["type"] = "keyDown".into();
            event["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", event.clone()).await;
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event).await;
    }

    /// Types into what has the focus.
    pub async fn type_text(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// A picture of what is in the window, as WebP.
    pub async fn picture(&self, quality: u8) -> Vec<u8> {
        let capture = json!({"format": "webp", "quality": quality});
        let captured = self.call("Page.captureScreenshot", capture).await;
        STANDARD.decode(captured["data"].as_str().unwrap()).unwrap()
    }

    /// What went wrong so far: errors and warnings of the console, exceptions, and requests to other
    /// hosts than `host`.
    pub fn problems(&self, host: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for event in self.events("Runtime.exceptionThrown") {
            problems.push(event["exceptionDetails"].to_string());
        }
        for event in self.events("Runtime.consoleAPICalled") {
            if event["type"] == "error" || event["type"] == "warning" {
                problems.push(event["args"].to_string());
            }
        }
        for event in self.events("Log.entryAdded") {
            problems.push(event["entry"].to_string());
        }
        for event in self.events("Network.requestWillBeSent") {
            let url = event["request"]["url"].as_str().unwrap_or_default();
            let is_own = url.starts_with(&format!("http://{host}/")) || url.starts_with("data:");
            if !is_own {
                problems.push(format!("a request to {url}"));
            }
        }
        problems
    }

    fn events(&self, method: &str) -> Vec<Value> {
        let events = self.wire.events.lock().unwrap();
        let own = events.iter().filter(|event| {
            event["sessionId"] == self.session.as_str() && event["method"] == method
        });
        own.map(|event| event["params"].clone()).collect()
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        self.wire
            .call(Some(&self.session), method, &parameters)
            .await
    }
}

impl Wire {
    /// # Panics
    /// When the browser refuses it, or does not answer.
    async fn call(&self, session: Option<&str>, method: &str, parameters: &Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut command = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        let (send, receive) = oneshot::channel();
        self.answers.lock().unwrap().insert(id, send);
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.lock().await.write_all(&bytes).await.unwrap();
        let answer = timeout(LONG, receive).await;
        let answer = answer.unwrap_or_else(|_| panic!("no answer to {method}"));
        let answer = answer.unwrap_or_else(|_| panic!("the browser is gone: {method}"));
        if let Some(error) = answer.get("error") {
            panic!("{method} {parameters}: {error}");
        }
        answer["result"].clone()
    }

    fn received(&self, message: &[u8]) {
        let message: Value = serde_json::from_slice(message).unwrap();
        let Some(id) = message["id"].as_u64() else {
            self.events.lock().unwrap().push(message);
            return;
        };
        let waiting = self.answers.lock().unwrap().remove(&id);
        if let Some(waiting) = waiting {
            // Nobody waits any more after a timeout.
            let _ = waiting.send(message);
        }
    }
}

/// Reads messages, each of which ends with a zero byte.
async fn read(mut answers: pipe::Receiver, wire: Arc<Wire>) {
    let mut received = Vec::new();
    let mut part = vec![0; 1 << 16];
    while let Ok(length) = answers.read(&mut part).await {
        received.extend_from_slice(&part[..length]);
        while let Some(end) = received.iter().position(|byte| *byte == 0) {
            let message: Vec<u8> = received.drain(..=end).collect();
            wire.received(&message[..end]);
        }
    }
}

/// Makes a pipe with a name.
fn fifo(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    let status = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(status.success(), "mkfifo {}: {status}", path.display());
    path
}
