//! Pictures of a scanout as a YUV4MPEG2 stream, which ffmpeg, mpv and VLC read.
//!
//! Nothing is compressed or subsampled (`C444`): what was shown can be told from a recording, to one step
//! per channel. Colours are BT.601 with full swing of 16 to 235, which readers assume without being told.

use std::io::Write;

use y4m::{Colorspace, Ratio};

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file or pipe takes no more.
    #[error("the recording cannot be written")]
    Write(#[source] y4m::Error),
    /// The picture has not as many bytes as pixels.
    #[error("a picture of {width}x{height} pixels has {length} bytes")]
    Length {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes given.
        length: usize,
    },
}

/// A stream that is being written. All its frames have the size of the first one.
pub struct Recording<W: Write> {
    encoder: y4m::Encoder<W>,
    size: (u32, u32),
    planes: [Vec<u8>; 3],
}

/// R, G and B of a picture, rows from the top without gaps.
#[derive(Debug, Clone, Copy)]
pub struct Pixels<'a> {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// 3 bytes for each pixel.
    pub rgb: &'a [u8],
}

impl<W: Write> Recording<W> {
    /// A stream of pictures of this size, so many a second.
    ///
    /// # Errors
    ///
    /// Its header cannot be written.
    pub fn new(writer: W, size: (u32, u32), rate: u32) -> Result<Self, RecordingError> {
        let encoder = y4m::encode(size.0 as usize, size.1 as usize, Ratio::new(rate as usize, 1))
            .with_colorspace(Colorspace::C444)
            .write_header(writer)
            .map_err(RecordingError::Write)?;
        Ok(Self { encoder, size, planes: Default::default() })
    }

    /// Appends a picture. One of another size is cut, or has black to its right and below it.
    ///
    /// # Errors
    ///
    /// It is no picture, or cannot be written.
    pub fn push(&mut self, pixels: Pixels<'_>) -> Result<(), RecordingError> {
        let Pixels { width, height, rgb } = pixels;
        let (colours, rest) = rgb.as_chunks::<3>();
        if colours.len() as u64 != u64::from(width) * u64::from(height) || !rest.is_empty() {
            return Err(RecordingError::Length { width, height, length: rgb.len() });
        }
        let (columns, rows) = (self.size.0 as usize, self.size.1 as usize);
        self.planes.iter_mut().for_each(Vec::clear);
        let pictured = colours.chunks(width.max(1) as usize).map(Some);
        for row in pictured.chain(std::iter::repeat(None)).take(rows) {
            let row = row.unwrap_or_default();
            let black = std::iter::repeat(&[0; 3]);
            for &colour in row.iter().chain(black).take(columns) {
                for (plane, value) in self.planes.iter_mut().zip(yuv(colour)) {
                    plane.push(value);
                }
            }
        }
        let [y, u, v] = &self.planes;
        let frame = y4m::Frame::new([y, u, v], None);
        self.encoder.write_frame(&frame).map_err(RecordingError::Write)
    }
}

/// BT.601, limited range, in 16 bits of fraction and rounded.
fn yuv([r, g, b]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let [r, g, b] = [r, g, b].map(i32::from);
    let channel = |offset: i32, red: i32, green: i32, blue: i32| {
        let value = offset + ((red * r + green * g + blue * b + HALF) >> 16);
        u8::try_from(value.clamp(0, 255)).unwrap_or_default()
    };
    [
        channel(16, 16829, 33039, 6416),
        channel(128, -9714, -19070, 28784),
        channel(128, 28784, -24103, -4681),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(size: (u32, u32), pictures: &[Pixels<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut recording = Recording::new(&mut bytes, size, 25).unwrap();
        pictures.iter().for_each(|picture| recording.push(*picture).unwrap());
        drop(recording);
        bytes
    }

    #[test]
    fn colours_are_those_of_bt_601() {
        for (rgb, expected) in [
            ([0, 0, 0], [16, 128, 128]),
            ([255, 255, 255], [235, 128, 128]),
            ([255, 0, 0], [81, 90, 240]),
            ([0, 255, 0], [145, 54, 34]),
            ([0, 0, 255], [41, 240, 110]),
        ] {
            assert_eq!(yuv(rgb), expected, "{rgb:?}");
        }
    }

    #[test]
    fn a_stream_has_a_header_and_planes() {
        let rgb = [[255, 0, 0], [0, 0, 255]].concat();
        let picture = Pixels { width: 2, height: 1, rgb: &rgb };
        let expected = [
            &b"YUV4MPEG2 W2 H1 F25:1 C444\n"[..],
            b"FRAME\n",
            &[81, 41, 90, 240, 240, 110],
            b"FRAME\n",
            &[81, 41, 90, 240, 240, 110],
        ];
        assert_eq!(recorded((2, 1), &[picture; 2]), expected.concat());
    }

    #[test]
    fn another_size_is_cut_or_filled() {
        let rgb = [255; 18];
        let wide = Pixels { width: 3, height: 2, rgb: &rgb };
        let start = b"YUV4MPEG2 W2 H3 F25:1 C444\nFRAME\n".len();
        let bytes = recorded((2, 3), &[wide]);
        assert_eq!(bytes[start..start + 6], [235, 235, 235, 235, 16, 16]);
        assert_eq!(bytes[start + 6..], [128; 12]);
        let narrow = Pixels { width: 1, height: 3, rgb: &rgb[..9] };
        let bytes = recorded((2, 3), &[narrow]);
        assert_eq!(bytes[start..start + 6], [235, 16, 235, 16, 235, 16]);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let mut recording = Recording::new(Vec::new(), (1, 1), 1).unwrap();
        for rgb in [&[0; 4][..], &[0; 2], &[]] {
            let refused = recording.push(Pixels { width: 1, height: 1, rgb });
            assert!(matches!(refused, Err(RecordingError::Length { .. })), "{rgb:?}");
        }
    }
}
