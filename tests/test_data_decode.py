"""One decoder for every kind of picture: what it gives, and what it refuses."""

import cv2
import numpy as np
import pytest
from tiny_sets import jpeg, picture, with_orientation

from jaxdet import data
from jaxdet.data.decode import decode_full, decode_stored, decode_to_fit, jpeg_size


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def cmyk_jpeg(inks: tuple[int, int, int, int]) -> bytes:
    """An 8 x 8 CMYK JPEG of one colour, as Photoshop writes them (Adobe marker, inverted).

    Four components, each a single block with only a DC coefficient. The quantiser is 8 and the
    DC of a flat block of value v is 8 (v - 128), so the coded number is v - 128.
    """
    bits = ""
    for value in inks:
        level = value - 128
        category = abs(level).bit_length()
        code = f"{category:04b}"  # the table below: sixteen codes of four bits, except the last
        digits = level if level > 0 else level + (1 << category) - 1
        bits += code + (f"{digits:0{category}b}" if category else "") + "0"  # 0: end of block
    bits += "1" * (-len(bits) % 8)
    scan = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    scan = scan.replace(b"\xff", b"\xff\x00")

    def segment(code: int, payload: bytes) -> bytes:
        return bytes([0xFF, code]) + (len(payload) + 2).to_bytes(2) + payload

    components = bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0])
    dc_table = bytes([0x00, 0, 0, 0, 12] + [0] * 12) + bytes(range(12))
    ac_table = bytes([0x10, 1] + [0] * 15) + b"\x00"
    return (
        b"\xff\xd8"
        + segment(0xEE, b"Adobe\x00\x64\x00\x00\x00\x00\x00")
        + segment(0xDB, bytes([0] + [8] * 64))
        + segment(0xC0, bytes([8, 0, 8, 0, 8, 4]) + components)
        + segment(0xC4, dc_table)
        + segment(0xC4, ac_table)
        + segment(0xDA, bytes([4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0]))
        + scan
        + b"\xff\xd9"
    )


def test_small_picture_fills_the_corner_and_the_rest_is_zero():
    image = picture(30, 40)
    canvas, height, width = data.decode(jpeg(image), 64)
    assert canvas.shape == (64, 64, 3) and canvas.dtype == np.uint8 and (height, width) == (30, 40)
    assert np.abs(canvas[:30, :40].astype(int) - image).max() <= 4  # JPEG, and RGB not BGR
    assert not canvas[30:].any() and not canvas[:, 40:].any()


def test_large_picture_is_shrunk_to_fit_by_area():
    image = np.repeat(np.repeat(picture(30, 40), 3, 0), 3, 1)  # 90 x 120 to 48 x 64
    canvas, height, width = data.decode(png(image[..., ::-1]), 64)
    assert (height, width) == (48, 64)
    expected = cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(canvas[:48], expected)
    again, *size = data.to_canvas(image, 64)  # a picture that is an array already
    np.testing.assert_array_equal(again, canvas)
    assert size == [48, 64]


def test_reduced_decoding_gives_nearly_the_same_picture_and_never_enlarges():
    image = cv2.GaussianBlur(picture(1000, 1400), (0, 0), 5)
    for canvas in (300, 349, 350, 351, 690, 1399):
        fitted = decode_to_fit(jpeg(image), canvas)
        assert max(fitted.shape) == canvas
        expected = cv2.resize(image, fitted.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(fitted.astype(int) - expected).mean() < 1.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000), (10_000, 1), (3, 10_000)])
def test_extreme_sizes(shape):
    image = picture(*shape)
    canvas, height, width = data.decode(png(image[..., ::-1]), 64)
    long = min(max(shape), 64)
    assert max(height, width) == long and min(height, width) == 1
    assert canvas[0, 0, 0] < 10 and (height, width)[shape[1] > shape[0]] == long


@pytest.mark.slow
def test_ten_thousand_pixels_square():
    image = np.zeros((10_000, 10_000, 3), np.uint8)
    image[:, 5_000:] = (200, 100, 50)
    canvas, height, width = data.decode(jpeg(image), 100)
    assert (height, width) == (100, 100)
    assert (
        np.abs(canvas[:, 60:].astype(int) - (200, 100, 50)).max() < 4 and canvas[:, :40].max() < 4
    )


def test_grey_sixteen_bit_and_transparent_pictures():
    grey = np.full((5, 6), 77, np.uint8)
    assert (decode_full(png(grey)) == 77).all() and decode_full(png(grey)).shape == (5, 6, 3)
    assert np.abs(decode_full(cv2.imencode(".jpg", grey)[1].tobytes()).astype(int) - 77).max() <= 1
    sixteen = np.full((5, 6, 3), (10 << 8, 20 << 8, 30 << 8), np.uint16)
    assert decode_full(png(sixteen))[0, 0].tolist() == [30, 20, 10]
    transparent = np.full((5, 6, 4), (10, 20, 30, 0), np.uint8)
    assert decode_full(png(transparent))[0, 0].tolist() == [30, 20, 10]


def test_cmyk():
    # Inverted inks: 255 is no ink. R = C K / 255 and so on.
    image = decode_full(cmyk_jpeg((240, 120, 60, 200)))
    expected = np.array([240, 120, 60]) * 200 / 255
    assert image.shape == (8, 8, 3)
    assert np.abs(image[4, 4] - expected).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_come_upright(orientation):
    image = picture(16, 24)
    upright = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.swapaxes(0, 1),
        6: np.rot90(image, -1),
        7: image[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(image, 1),
    }[orientation]
    encoded = with_orientation(jpeg(image), orientation)
    assert np.abs(decode_full(encoded).astype(int) - upright).max() <= 4
    assert decode_stored(encoded).shape == (16, 24, 3)
    assert jpeg_size(encoded) == (16, 24)
    canvas, height, width = data.decode(encoded, 32)
    assert (height, width) == upright.shape[:2]


def test_truncated_and_foreign_bytes_are_refused():
    whole = jpeg(picture(64, 64))
    for cut in (1, 2, 10, len(whole) // 2, len(whole) - 10):
        with pytest.raises(ValueError, match="truncated|part of one"):
            decode_full(whole[:-cut])
    with pytest.raises(ValueError, match="part of one"):
        decode_full(png(picture(64, 64))[:-60])
    with pytest.raises(ValueError, match="empty file"):
        decode_full(b"")
    with pytest.raises(ValueError, match="not an image"):
        decode_full(b"hello, this is text")
    with pytest.raises(ValueError, match="not an image|OpenCV|truncated"):
        decode_full(b"\xff\xd8\xff")


def test_end_marker_of_a_thumbnail_does_not_make_a_truncated_picture_whole():
    whole = jpeg(picture(64, 64))
    thumbnail = jpeg(picture(8, 8))
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    with_thumbnail = whole[:2] + segment + whole[2:]
    assert decode_full(with_thumbnail).shape == (64, 64, 3)
    with pytest.raises(ValueError, match="truncated"):
        decode_full(with_thumbnail[:-50])


def test_bytes_after_the_end_marker_do_no_harm():
    assert decode_full(jpeg(picture(8, 8)) + b"\x00" * 50).shape == (8, 8, 3)


def test_read_image(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(picture(4, 5)[..., ::-1]))
    np.testing.assert_array_equal(data.read_image(path), picture(4, 5))
    with pytest.raises(ValueError, match="no image file at .*b.png"):
        data.read_image(tmp_path / "b.png")
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match="a.png: not an image"):
        data.read_image(str(path))
