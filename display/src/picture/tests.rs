use super::*;

fn picture() -> Picture {
    Picture::from_rgb(3, 2, (0..18).collect())
}

#[test]
fn pixels_and_crops() {
    let picture = picture();
    assert_eq!(picture.pixel(2, 1), Some([15, 16, 17]));
    assert_eq!(picture.pixel(3, 0), None);
    assert_eq!(picture.pixel(0, 2), None);
    let corner = picture.crop(Rect::new(1, 1, 2, 1)).unwrap();
    assert_eq!((corner.width(), corner.height()), (2, 1));
    assert_eq!(corner.as_rgb(), [12, 13, 14, 15, 16, 17]);
    assert_eq!(picture.crop(Rect::new(2, 1, 2, 1)), None);
    assert_eq!(picture.crop(Rect::default()), None);
}

#[test]
fn compare_names_the_first_difference() {
    let a = picture();
    let mut b = a.clone();
    assert_eq!(a.compare(&b, 0), Ok(()));
    *b.pixel_mut(1, 1).unwrap() = [12, 13, 17];
    let difference = a.compare(&b, 2).unwrap_err();
    assert_eq!(difference.to_string(), "pixel (1, 1) is [12, 13, 14], not [12, 13, 17]");
    assert_eq!(a.compare(&b, 3), Ok(()));
    let small = a.crop(Rect::new(0, 0, 1, 1)).unwrap();
    assert!(matches!(a.compare(&small, 255), Err(Difference::Size { .. })));
}

#[test]
fn png_holds_the_pixels_and_replaces_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shot.png");
    fs::write(&path, "old").unwrap();
    picture().write_png(&path).unwrap();

    let file = BufReader::new(File::open(&path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut rgb).unwrap();
    assert_eq!((info.width, info.height, info.color_type), (3, 2, ColorType::Rgb));
    assert_eq!(rgb, picture().as_rgb());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "a temporary file stayed");
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let error = picture().write_png(dir.path().join("no/shot.png")).unwrap_err();
    assert!(error.to_string().ends_with("no/shot.png"), "{error}");
    // A directory cannot be replaced by a file.
    let taken = dir.path().join("taken");
    fs::create_dir(&taken).unwrap();
    picture().write_png(&taken).unwrap_err();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    picture().write_png("/").unwrap_err();
}

/// A PNG file of 2x1 pixels of these bytes.
fn png_file(
    color: ColorType,
    depth: png::BitDepth,
    palette: &[u8],
    bytes: &[u8],
) -> tempfile::TempPath {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut encoder = png::Encoder::new(&file, 2, 1);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if !palette.is_empty() {
        encoder.set_palette(palette.to_vec());
    }
    encoder.write_header().unwrap().write_image_data(bytes).unwrap();
    file.into_temp_path()
}

#[test]
fn png_files_of_all_colours_are_read() {
    use png::BitDepth::{Eight, One, Sixteen};
    for (color, depth, palette, bytes, rgb) in [
        (ColorType::Rgb, Eight, &[][..], &[1, 2, 3, 4, 5, 6][..], [1, 2, 3, 4, 5, 6]),
        (ColorType::Rgba, Eight, &[], &[255, 10, 0, 255, 255, 10, 0, 51], [255, 10, 0, 51, 2, 0]),
        (ColorType::Grayscale, Eight, &[], &[7, 9], [7, 7, 7, 9, 9, 9]),
        (ColorType::Grayscale, Sixteen, &[], &[7, 200, 9, 0], [7, 7, 7, 9, 9, 9]),
        (ColorType::GrayscaleAlpha, Eight, &[], &[255, 255, 255, 0], [255, 255, 255, 0, 0, 0]),
        (ColorType::Indexed, One, &[9, 8, 7, 6, 5, 4], &[0b0100_0000], [9, 8, 7, 6, 5, 4]),
    ] {
        let path = png_file(color, depth, palette, bytes);
        let picture = Picture::read_png(&path).unwrap();
        assert_eq!((picture.width(), picture.height()), (2, 1));
        assert_eq!(picture.as_rgb(), rgb, "{color:?} {depth:?}");
    }
}

#[test]
fn what_is_no_png_is_said_by_name() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, b"GIF89a").unwrap();
    let error = Picture::read_png(&file).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read the PNG file {}", file.path().display()));
    let missing = Picture::read_png("/nowhere/at.png").unwrap_err();
    assert_eq!(missing.to_string(), "cannot read the PNG file /nowhere/at.png");
}
