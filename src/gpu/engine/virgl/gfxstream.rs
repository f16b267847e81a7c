//! gfxstream in place of virglrenderer: the same interface of rutabaga, and another library below it.
//! Built where that library is; nobody has run it.

use rutabaga_gfx::{
    RUTABAGA_CAPSET_GFXSTREAM_GLES, RUTABAGA_CAPSET_GFXSTREAM_VULKAN, RutabagaBuilder,
    RutabagaComponentType,
};

use super::super::{SignalHandler, StartError};
use super::{Engine, capsets_of, fence_handler};

impl Engine {
    /// Starts gfxstream, on the GPU that it chooses.
    pub(in super::super::super) fn start_gfxstream(
        on_signal: &SignalHandler,
    ) -> Result<Self, StartError> {
        let (handler, last_fence) = fence_handler(on_signal);
        let mask = 1 << RUTABAGA_CAPSET_GFXSTREAM_VULKAN | 1 << RUTABAGA_CAPSET_GFXSTREAM_GLES;
        let rutabaga = RutabagaBuilder::new(mask, handler)
            .set_default_component(RutabagaComponentType::Gfxstream)
            .set_use_egl(true)
            .set_use_surfaceless(true)
            // Memory that other processes can map.
            .set_use_external_blob(true)
            .build()
            .map_err(|error| StartError::Engine(error.into()))?;
        let capsets = capsets_of(&rutabaga);
        Ok(Self { rutabaga, capsets, last_fence })
    }
}
