//! Commands of the cursor queue.

use vm_memory::{Bytes, GuestMemory};

use super::chain::Request;
use super::display::{CURSOR_PIXELS, CursorBitmap, CursorPosition, Display};
use super::error::CommandError;
use super::pixels::to_argb;
use super::rect::Rect;
use super::resource::{Kind, Resource, Texture};
use super::scanout::ScanoutSet;
use super::wire::{CURSOR_SIZE, CursorPos, Format, UpdateCursor};
use super::{CommandResult, Gpu, Outcome};

const BYTES_PER_PIXEL: usize = Format::BYTES_PER_PIXEL as usize;
const ROW_BYTES: usize = CURSOR_SIZE as usize * BYTES_PER_PIXEL;

/// The cursors of all scanouts.
#[derive(Debug)]
pub(super) struct Cursors {
    pub(super) visible: ScanoutSet,
    /// Kept for its allocation.
    image: Box<CursorBitmap>,
}

impl Default for Cursors {
    fn default() -> Self {
        let image = CursorBitmap { hot_x: 0, hot_y: 0, pixels: [0; CURSOR_PIXELS] };
        Self { visible: ScanoutSet::default(), image: Box::new(image) }
    }
}

impl Cursors {
    pub(super) fn hide_all(&mut self, display: &mut dyn Display) {
        for scanout in self.visible.iter() {
            display.cursor_hide(scanout, CursorPosition::default());
        }
        self.visible = ScanoutSet::default();
    }
}

impl Gpu {
    pub(super) fn update_cursor<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let body: UpdateCursor = request.body()?;
        let (scanout, position) = place(&body.pos);
        self.check_scanout(scanout)?;
        let id = body.resource_id.get();
        if id == 0 {
            self.set_cursor_visible(scanout, false);
            display.cursor_hide(scanout, position);
            return Ok(Outcome::Done);
        }
        self.bring_up_to_date(id, display)?;
        let image = &mut *self.cursors.image;
        read_pixels(self.resources.get(id)?, request.memory(), &mut image.pixels)?;
        image.hot_x = body.hot_x.get().min(CURSOR_SIZE - 1);
        image.hot_y = body.hot_y.get().min(CURSOR_SIZE - 1);
        display.cursor_update(scanout, position, image);
        self.set_cursor_visible(scanout, true);
        Ok(Outcome::Done)
    }

    /// Reads a cursor that is a texture from the renderer.
    fn bring_up_to_date(&mut self, id: u32, display: &mut dyn Display) -> Result<(), CommandError> {
        let Kind::Texture(Texture { image: Some(image), .. }) = &self.resources.get(id)?.kind
        else {
            return Ok(());
        };
        if image.width.max(image.height) > CURSOR_SIZE {
            return Ok(());
        }
        let whole = Rect::of_size(image.width, image.height);
        self.resources.image_source(id, whole)?;
        self.keep_made_memory(display);
        self.refresh_texture(id, whole)
    }

    fn set_cursor_visible(&mut self, scanout: u32, visible: bool) {
        let cursors = &mut self.cursors.visible;
        if cursors.contains(scanout) == visible {
            return;
        }
        if visible {
            cursors.insert(scanout);
        } else {
            cursors.remove(scanout);
        }
        let mask = cursors.mask();
        if let Some(state) = self.resources.state() {
            state.set_cursors(mask);
        }
    }

    pub(super) fn move_cursor<M: GuestMemory>(
        &mut self,
        request: &mut Request<'_, M>,
        display: &mut dyn Display,
    ) -> CommandResult {
        let body: UpdateCursor = request.body()?;
        let (scanout, position) = place(&body.pos);
        self.check_scanout(scanout)?;
        if self.cursors.visible.contains(scanout) {
            display.cursor_move(scanout, position);
        } else {
            display.cursor_hide(scanout, position);
        }
        Ok(Outcome::Done)
    }
}

/// The driver's coordinates are signed: Linux sends what is left of or above the scanout as negative.
fn place(pos: &CursorPos) -> (u32, CursorPosition) {
    let position = CursorPosition { x: pos.x.get().cast_signed(), y: pos.y.get().cast_signed() };
    (pos.scanout_id.get(), position)
}

/// The pixels of a cursor resource, at the top left; what it does not reach is transparent.
fn read_pixels<M: GuestMemory>(
    resource: &Resource,
    memory: &M,
    pixels: &mut [u32; CURSOR_PIXELS],
) -> Result<(), CommandError> {
    let (width, height, format) = match &resource.kind {
        // Linux' driver shows cursors with their alpha (`virtio_gpu_cursor_formats`), and makes the dumb buffers
        // that they are in of a format without (`virtio_gpu_mode_dumb_create`).
        Kind::Image(image) | Kind::Texture(Texture { image: Some(image), .. }) => {
            (image.width, image.height, image.format.with_alpha())
        }
        // What Linux' driver uses for cursors, on a little-endian machine as on the wire.
        Kind::Blob(blob) => {
            let (width, height) = blob.cursor_size.unwrap_or((CURSOR_SIZE, CURSOR_SIZE));
            (width, height, Format::B8g8r8a8)
        }
        Kind::Texture(_) | Kind::HostBlob(_) => {
            return Err(CommandError::OutOfRange("kind of the cursor"));
        }
    };
    if width == 0 || height == 0 || width > CURSOR_SIZE || height > CURSOR_SIZE {
        return Err(CommandError::OutOfRange("size of the cursor"));
    }
    let mut bytes = [0; ROW_BYTES];
    let row_bytes = width as usize * BYTES_PER_PIXEL;
    for (y, row) in
        (0..u64::from(CURSOR_SIZE)).zip(pixels.as_chunks_mut::<{ CURSOR_SIZE as usize }>().0)
    {
        row.fill(0);
        if y >= u64::from(height) {
            continue;
        }
        let bytes = bytes.get_mut(..row_bytes).unwrap_or_default();
        read_row(resource, memory, y * row_bytes as u64, bytes)?;
        for (pixel, bytes) in row.iter_mut().zip(bytes.as_chunks::<BYTES_PER_PIXEL>().0) {
            *pixel = to_argb(format, *bytes);
        }
    }
    Ok(())
}

/// Reads a row at byte `offset` of a resource whose rows have no gaps.
fn read_row<M: GuestMemory>(
    resource: &Resource,
    memory: &M,
    offset: u64,
    bytes: &mut [u8],
) -> Result<(), CommandError> {
    match (&resource.kind, &resource.backing) {
        (Kind::Image(image) | Kind::Texture(Texture { image: Some(image), .. }), _) => {
            match &image.memory {
                Some(pixels) => {
                    let row = pixels.slice(offset, bytes.len() as u64);
                    let read = row.and_then(|row| row.read_slice(bytes, 0).ok());
                    read.ok_or(CommandError::OutOfRange("size of the cursor"))
                }
                // Never written to.
                None => {
                    bytes.fill(0);
                    Ok(())
                }
            }
        }
        (Kind::Blob(blob), Some(backing)) => {
            let end = offset + bytes.len() as u64;
            if end > blob.size {
                return Err(CommandError::OutOfRange("size of the cursor"));
            }
            Ok(backing.read_at(memory, offset, bytes)?)
        }
        _ => Err(CommandError::OutOfRange("size of the cursor")),
    }
}
