//! Which scanout is on which connector.

use std::collections::BTreeSet;
use std::sync::Arc;

use drm::control::crtc;

use super::card::Card;
use super::connectors::{self, Connector, Pipe};
use super::geometry;
use super::output::{Output, OutputError};
use crate::{DisplayError, DisplayEvent, KmsOptions};

/// Outputs, by scanout.
pub(super) struct Outputs {
    outputs: Vec<Output>,
    options: KmsOptions,
    /// Scanouts of which it was said that they are not shown.
    unshown: BTreeSet<u32>,
}

impl Outputs {
    /// The connectors that the options name, or else those that are connected.
    pub(super) fn new(card: &Arc<Card>, options: KmsOptions) -> Result<Outputs, DisplayError> {
        let list = connectors::list(card)
            .map_err(|source| card.error("list the connectors of", source))?;
        for name in &options.connectors {
            if !list.iter().any(|connector| connector.name == *name) {
                let known =
                    list.iter().map(|connector| connector.name.as_str()).collect::<Vec<_>>();
                return Err(DisplayError::NoConnector {
                    card: card.description(),
                    name: name.clone(),
                    known: known.join(", "),
                });
            }
        }
        let mut outputs = Outputs { outputs: Vec::new(), options, unshown: BTreeSet::new() };
        outputs.add(card, list)?;
        if outputs.outputs.is_empty() {
            log::warn!("{} has no display; waiting for one", card.description());
        }
        Ok(outputs)
    }

    /// Makes outputs of connectors that are none yet. Named ones are outputs whether they are connected
    /// or not.
    fn add(&mut self, card: &Arc<Card>, list: Vec<Connector>) -> Result<(), DisplayError> {
        let chosen: Vec<Connector> = if self.options.connectors.is_empty() {
            list.into_iter().filter(Connector::is_connected).collect()
        } else {
            let named =
                |name: &String| list.iter().find(|connector| connector.name == *name).cloned();
            self.options.connectors.iter().filter_map(named).collect()
        };
        for connector in chosen {
            if self.outputs.iter().any(|output| output.connector.handle == connector.handle) {
                continue;
            }
            let taken: Vec<&Pipe> = self.outputs.iter().map(|output| &output.pipe).collect();
            let plane = self.options.planes.get(self.outputs.len()).copied();
            let pipe = Pipe::find(card, &connector, plane, &taken)
                .map_err(|source| card.error("look for a plane of", source))?;
            match (pipe, plane) {
                (Some(pipe), _) => self.outputs.push(Output::new(card, connector, pipe)),
                (None, Some(plane)) => {
                    return Err(DisplayError::NoPlane { plane, connector: connector.name });
                }
                (None, None) => log::warn!("{}: the card has no CRTC left for it", connector.name),
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, scanout: u32) -> Option<&Output> {
        self.outputs.get(scanout as usize)
    }

    /// The scanout's output. Says once of a scanout that it has none.
    pub(super) fn get_mut_or_warn(&mut self, scanout: u32) -> Option<&mut Output> {
        let output = self.outputs.get_mut(scanout as usize);
        if output.is_none() && self.unshown.insert(scanout) {
            log::warn!("scanout {scanout} is not shown: there is no connector for it");
        }
        output
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Output> {
        self.outputs.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Output> {
        self.outputs.iter_mut()
    }

    pub(super) fn on_crtc(&mut self, crtc: crtc::Handle) -> Option<(u32, &mut Output)> {
        (0..).zip(&mut self.outputs).find(|(_, output)| output.pipe.crtc == crtc)
    }

    /// For the log.
    pub(super) fn describe(&self) -> String {
        let outputs = self.outputs.iter().map(|output| {
            let state = if output.is_connected { "" } else { " (no display)" };
            format!("{}{state}", output.connector.name)
        });
        outputs.collect::<Vec<_>>().join(", ")
    }

    /// What is connected now.
    pub(super) fn connected_events(&self, card: &Card) -> Vec<DisplayEvent> {
        let connected = (0..).zip(&self.outputs).filter(|(_, output)| output.is_connected);
        connected
            .map(|(scanout, output)| connected_event(card, scanout, &output.connector))
            .collect()
    }

    /// Looks at the connectors again. Returns what is to be told, and what of it could not be shown.
    pub(super) fn probe(
        &mut self,
        card: &Arc<Card>,
    ) -> (Vec<DisplayEvent>, Vec<(u32, OutputError)>) {
        let (mut events, mut failures) = (Vec::new(), Vec::new());
        for (scanout, output) in (0..).zip(&mut self.outputs) {
            let Ok(connector) = connectors::probe(card, output.connector.handle) else { continue };
            let was_connected = output.is_connected;
            let is_same = connector.edid(card) == output.connector.edid(card)
                && connector.modes() == output.connector.modes();
            output.is_connected = connector.is_connected();
            output.connector = connector;
            match (was_connected, output.is_connected) {
                (true, false) => {
                    log::info!("{}: the display is gone", output.connector.name);
                    failures.extend(output.switch_off().err().map(|error| (scanout, error)));
                    events.push(DisplayEvent::Disconnected { scanout });
                }
                (false, true) | (true, true) if !(was_connected && is_same) => {
                    log::info!("{}: there is a display", output.connector.name);
                    events.push(connected_event(card, scanout, &output.connector));
                    failures.extend(output.show_again().err().map(|error| (scanout, error)));
                }
                _ => {}
            }
        }
        let known = self.outputs.len();
        if let Ok(list) = connectors::list(card)
            && let Err(error) = self.add(card, list)
        {
            log::error!("{error}");
        }
        for (scanout, output) in (0..).zip(&self.outputs).skip(known) {
            log::info!("{}: there is a display for scanout {scanout}", output.connector.name);
            self.unshown.remove(&scanout);
            events.push(connected_event(card, scanout, &output.connector));
        }
        (events, failures)
    }
}

fn connected_event(card: &Card, scanout: u32, connector: &Connector) -> DisplayEvent {
    let modes: Vec<_> = connector.modes().iter().map(connectors::size).collect();
    // No frame has that size.
    let preferred = geometry::choose_mode(&modes, (0, 0)).and_then(|index| modes.get(index));
    let (width, height, refresh) =
        preferred.map_or((0, 0, 0), |mode| (mode.width, mode.height, mode.refresh));
    DisplayEvent::Connected { scanout, edid: connector.edid(card), width, height, refresh }
}
