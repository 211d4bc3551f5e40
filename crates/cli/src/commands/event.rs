//! `event`: writing custom events.

use arrival_client::{Event, EventProvider, Guid};

use super::{Outcome, Place};
use crate::args::{EventDoes, EventWrite};
use crate::exit::{Exit, Failure};

/// `arrival event write`.
pub(super) fn event(place: &Place, does: &EventDoes) -> Outcome {
    let EventDoes::Write(options) = does;
    let cannot = |why: String| Failure::new(Exit::Usage, format!("cannot write an event: {why}"));
    let provider: Guid = options
        .provider
        .parse()
        .map_err(|error: arrival_model::guid::GuidError| cannot(error.to_string()))?;
    let payload = payload(options).map_err(cannot)?;
    let event = Event {
        id: options.id,
        level: options.level,
        keyword: options.keyword,
        ..Event::default()
    };
    let failed = |error: arrival_client::Error| Failure::of("cannot write an event", &error);
    let mut events = EventProvider::connect(&place.root, provider).map_err(failed)?;
    events.write(&event, &payload).map_err(failed)?;
    if events.lost() > 0 {
        let message = "the manager cannot take an event now";
        return Err(Failure::new(Exit::Failed, message.to_owned()));
    }
    Ok(Exit::Done)
}

fn payload(options: &EventWrite) -> Result<Vec<u8>, String> {
    if let Some(text) = &options.text {
        return Ok(text.clone().into_bytes());
    }
    let digits: Vec<u8> = options.bytes.iter().flat_map(|text| text.bytes()).collect();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair)
            .ok()
            .filter(|text| text.len() == 2)?;
        let good = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u8::from_str_radix(text, 16).ok().filter(|_| good)
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    bytes.ok_or_else(|| "--bytes takes pairs of hexadecimal digits".to_owned())
}
