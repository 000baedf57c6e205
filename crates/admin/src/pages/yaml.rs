//! A page with YAML, and its modes.

use axum::http::StatusCode;
use axum::response::Response;
use distributor_config::Mode;
use maud::{Markup, html};
use serde::Deserialize;

use super::parts;
use crate::answer::text;

pub(super) const YAML: &str = "text/plain; charset=utf-8";

#[derive(Debug, Deserialize)]
pub(crate) struct Parameters {
    mode: Option<String>,
}

impl Parameters {
    pub(super) fn mode(&self) -> Result<Mode, Box<Response>> {
        match self.mode.as_deref() {
            None | Some("") => Ok(Mode::Full),
            Some("diff") => Ok(Mode::Diff),
            Some("defaults") => Ok(Mode::Defaults),
            Some(other) => Err(Box::new(text(
                StatusCode::BAD_REQUEST,
                format!("unknown mode {other:?}; use diff or defaults, or leave it out"),
            ))),
        }
    }
}

pub(super) fn yaml_page(title: &str, path: &str, mode: Mode, yaml: &str) -> Markup {
    let modes = [
        (Mode::Full, "", "All settings in effect"),
        (Mode::Diff, "diff", "Differences from the defaults"),
        (Mode::Defaults, "defaults", "The defaults"),
    ];
    html! {
            ul.links aria-label="What to show" {
                @for (other, name, title) in modes {
                    li { a href=(parts::link(path, &[("mode", name.into())])) aria-current=[(other == mode).then_some("true")] { (title) } }
                }
            }
            p.note { "Secrets are not shown. Programs get only the YAML, or JSON with " code { "Accept: application/json" } "." }
            pre role="region" aria-label=(title) tabindex="0" { (yaml) }
    }
}
