//! A copy of a frame's pixels, for screenshots and comparisons; PNG.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use png::{ColorType, Transformations};
use thiserror::Error;

use crate::{MAX_DIMENSION, Rect};

/// Why a picture was not written.
#[derive(Debug, Error)]
pub enum PictureError {
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The picture's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },

    /// The file cannot be read, or is no PNG.
    #[error("cannot read the PNG file {}", path.display())]
    Read {
        /// The picture's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: png::DecodingError,
    },

    /// Nothing could show it.
    #[error("{} has more than {MAX_DIMENSION} rows or columns", .0.display())]
    TooLarge(PathBuf),

    /// The encoder refused.
    #[error("cannot encode {} as PNG", path.display())]
    Encode {
        /// The picture's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: png::EncodingError,
    },
}

/// A copy of what was shown: 8-bit RGB, rows from the top without gaps.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// `rgb` has 3 bytes for each pixel.
    pub(crate) fn from_rgb(width: u32, height: u32, rgb: Vec<u8>) -> Picture {
        debug_assert_eq!(rgb.len(), width as usize * height as usize * 3);
        Picture { width, height, rgb }
    }

    /// Reads a PNG file, of any colours; what is transparent is on black.
    ///
    /// # Errors
    ///
    /// It cannot be read, is none, or has more than [`MAX_DIMENSION`] rows or columns.
    pub fn read_png(path: impl AsRef<Path>) -> Result<Picture, PictureError> {
        let path = path.as_ref();
        let failed = |source| PictureError::Read { path: path.into(), source };
        let io_failed = |source| failed(png::DecodingError::IoError(source));
        let mut decoder = png::Decoder::new(BufReader::new(File::open(path).map_err(io_failed)?));
        decoder.set_transformations(Transformations::normalize_to_color8());
        let header = decoder.read_header_info().map_err(failed)?;
        if header.width.max(header.height) > MAX_DIMENSION {
            return Err(PictureError::TooLarge(path.into()));
        }
        let mut reader = decoder.read_info().map_err(failed)?;
        let mut bytes = vec![0; reader.output_buffer_size().unwrap_or(0)];
        let info = reader.next_frame(&mut bytes).map_err(failed)?;
        bytes.truncate(info.buffer_size());
        let over_black = |colour: u8, alpha: u8| {
            u8::try_from(u32::from(colour) * u32::from(alpha) / 255).unwrap_or(u8::MAX)
        };
        let rgb = match info.color_type {
            ColorType::Rgb => bytes,
            ColorType::Rgba => {
                let (pixels, _) = bytes.as_chunks::<4>();
                let over = |&[r, g, b, a]: &[u8; 4]| [r, g, b].map(|colour| over_black(colour, a));
                pixels.iter().flat_map(over).collect()
            }
            // The transformation leaves no palette.
            ColorType::Grayscale | ColorType::Indexed => {
                bytes.iter().flat_map(|&grey| [grey; 3]).collect()
            }
            ColorType::GrayscaleAlpha => {
                let (pixels, _) = bytes.as_chunks::<2>();
                pixels.iter().flat_map(|&[grey, alpha]| [over_black(grey, alpha); 3]).collect()
            }
        };
        Ok(Picture::from_rgb(info.width, info.height, rgb))
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All bytes: R, G, B of each pixel, rows from the top.
    pub fn as_rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// R, G, B of one pixel; `None` outside the picture.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        let start = self.index(x, y)?;
        self.rgb.get(start..)?.first_chunk().copied()
    }

    /// The bytes of one pixel, for drawing over it.
    pub(crate) fn pixel_mut(&mut self, x: u32, y: u32) -> Option<&mut [u8; 3]> {
        let start = self.index(x, y)?;
        self.rgb.get_mut(start..)?.first_chunk_mut()
    }

    /// A copy of the part inside `rect`; `None` if `rect` is empty or reaches outside.
    pub fn crop(&self, rect: Rect) -> Option<Picture> {
        if rect.is_empty() || !Rect::new(0, 0, self.width, self.height).contains(&rect) {
            return None;
        }
        let mut rgb = Vec::with_capacity(rect.width as usize * rect.height as usize * 3);
        for y in rect.y..rect.y + rect.height {
            let start = self.index(rect.x, y)?;
            rgb.extend_from_slice(self.rgb.get(start..start + rect.width as usize * 3)?);
        }
        Some(Picture::from_rgb(rect.width, rect.height, rgb))
    }

    /// The first pixel, row by row, one of whose channels differs by more than `tolerance`.
    ///
    /// # Errors
    ///
    /// What differs: the sizes, or that pixel.
    pub fn compare(&self, other: &Picture, tolerance: u8) -> Result<(), Difference> {
        let (ours, theirs) = ((self.width, self.height), (other.width, other.height));
        if ours != theirs {
            return Err(Difference::Size { ours, theirs });
        }
        let (ours, _) = self.rgb.as_chunks::<3>();
        let (theirs, _) = other.rgb.as_chunks::<3>();
        let mut pairs = ours.iter().zip(theirs);
        let differs =
            |(a, b): (&[u8; 3], &[u8; 3])| a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > tolerance);
        match pairs.position(differs).and_then(|at| Some((at, *ours.get(at)?, *theirs.get(at)?))) {
            None => Ok(()),
            Some((at, ours, theirs)) => {
                let at = at as u64;
                let (x, y) = (at % u64::from(self.width), at / u64::from(self.width));
                Err(Difference::Pixel { x, y, ours, theirs })
            }
        }
    }

    /// Writes the picture as PNG. The file appears whole or not at all; one that is there already
    /// is replaced.
    ///
    /// # Errors
    ///
    /// The directory or the file cannot be written.
    pub fn write_png(&self, path: impl AsRef<Path>) -> Result<(), PictureError> {
        let path = path.as_ref();
        let write_error = |source| PictureError::Write { path: path.into(), source };
        let (temporary, file) = create_beside(path).map_err(write_error)?;
        let written = self
            .encode(BufWriter::new(file))
            .map_err(|source| match source {
                png::EncodingError::IoError(source) => write_error(source),
                source => PictureError::Encode { path: path.into(), source },
            })
            .and_then(|()| fs::rename(&temporary, path).map_err(write_error));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// The picture as the bytes of a PNG file.
    ///
    /// # Errors
    ///
    /// The encoder refuses; no picture of this crate is known to make it.
    pub fn to_png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes)?;
        Ok(bytes)
    }

    fn encode(&self, mut file: impl Write) -> Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(&mut file, self.width, self.height);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        writer.finish()?;
        file.flush()?;
        Ok(())
    }

    fn index(&self, x: u32, y: u32) -> Option<usize> {
        (x < self.width && y < self.height)
            .then(|| (y as usize * self.width as usize + x as usize) * 3)
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

/// How two pictures differ.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Difference {
    /// In size, given as width and height.
    #[error("{}x{} pixels are not {}x{}", ours.0, ours.1, theirs.0, theirs.1)]
    Size {
        /// Of the picture itself.
        ours: (u32, u32),
        /// Of the picture it was compared with.
        theirs: (u32, u32),
    },
    /// In a pixel.
    #[error("pixel ({x}, {y}) is {ours:?}, not {theirs:?}")]
    Pixel {
        /// Column.
        x: u64,
        /// Row.
        y: u64,
        /// R, G, B of the picture itself.
        ours: [u8; 3],
        /// R, G, B of the picture it was compared with.
        theirs: [u8; 3],
    },
}

/// Creates a file with a new name in the directory of `path`, so that renaming it is atomic.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);

    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    loop {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{name}.{}-{serial}", process::id()));
        match File::create_new(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            // Left behind by a process that had our id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
