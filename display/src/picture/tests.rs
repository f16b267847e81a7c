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

    let file = io::BufReader::new(File::open(&path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut rgb).unwrap();
    assert_eq!((info.width, info.height, info.color_type), (3, 2, png::ColorType::Rgb));
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
