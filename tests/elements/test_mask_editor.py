"""<mask-editor> as a person uses it, by mouse, touch and keys, and the files that come of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deployments.imaging.decode import decode
from deployments.imaging.masks import mask_of
from tests.elements.pages import file_of, noise, page_of, served, to_base64, violations

WIDTH, HEIGHT = 320, 200
PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}

DRAWN = "() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))"
OPEN = """async ([data, limits, maxBytes]) => {
  const editor = document.querySelector("mask-editor");
  Object.assign(editor, { ...(limits && { limits }), ...(maxBytes && { maxBytes }) });
  window.changes = 0;
  editor.addEventListener("change", () => window.changes++);
  window.file = new Blob([Uint8Array.from(atob(data), (character) => character.charCodeAt(0))]);
  await editor.open(window.file);
}"""
# Frames are asked for meanwhile: on a page where nothing moves, Chromium waits a second before it writes a picture.
RESULT = """async () => {
  const text = async (blob) => {
    let binary = "";
    new Uint8Array(await blob.arrayBuffer()).forEach((byte) => (binary += String.fromCharCode(byte)));
    return btoa(binary);
  };
  let frames = requestAnimationFrame(function next() { frames = requestAnimationFrame(next); });
  const { image, mask, ...facts } = await document.querySelector("mask-editor").result();
  cancelAnimationFrame(frames);
  return { image: await text(image), mask: mask && (await text(mask)), same: image === window.file, ...facts };
}"""


@dataclass
class Result:
    """What the page would send."""

    image: bytes
    mask: Image.Image | None
    size: tuple[int, int]
    source: dict[str, float]
    is_the_file: bool
    is_exact: bool

    @property
    def picture(self) -> Image.Image:
        return Image.open(io.BytesIO(self.image))

    @property
    def painted(self) -> Any:
        """Where it is to be repainted: booleans, of height × width."""
        assert self.mask is not None
        assert self.mask.mode == "RGBA"
        assert self.mask.size == self.size == self.picture.size
        alpha = np.asarray(self.mask.getchannel("A"))
        assert set(np.unique(alpha)) <= {0, 255}
        return alpha == 0


class Editor:
    """The element, and hands on it. Places are in pixels of the opened picture, without a frame."""

    def __init__(self, page: Any, data: bytes, limits: dict[str, float] | None = None, max_bytes: int | None = None):
        self.page = page
        with Image.open(io.BytesIO(data)) as picture:
            self.size = picture.size
        page.evaluate(OPEN, [to_base64(data), limits, max_bytes])
        page.evaluate(DRAWN)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place on the page, of a picture that is fitted into the stage."""
        box = self.page.locator("mask-editor canvas").bounding_box()
        scale = min((box["width"] - 24) / self.size[0], (box["height"] - 24) / self.size[1])
        left = box["x"] + (box["width"] - self.size[0] * scale) / 2
        top = box["y"] + (box["height"] - self.size[1] * scale) / 2
        return left + x * scale, top + y * scale

    def draw(self, *places: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.at(*place), steps=5)
        self.page.mouse.up()

    def touch(self, *moments: tuple[tuple[float, float], ...]) -> None:
        """By fingers, which are at these places on the page one moment after the other, and then lifted."""
        session = self.page.context.new_cdp_session(self.page)
        before: tuple[tuple[float, float], ...] = ()
        for places in (*moments, ()):
            kind = "touchEnd" if not places else "touchMove" if len(places) == len(before) else "touchStart"
            points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            before = places

    def press(self, name: str) -> None:
        self.page.locator("mask-editor").get_by_role("button", name=name).click()

    def drag(self, handle: str, dx: float, dy: float) -> None:
        """By CSS pixels."""
        self.page.evaluate(DRAWN)
        box = self.page.get_by_role("button", name=f"Frame: {handle}").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx, y + dy, steps=4)
        self.page.mouse.up()

    def result(self) -> Result:
        told = self.page.evaluate(RESULT)
        mask = told["mask"] and Image.open(io.BytesIO(base64.b64decode(told["mask"])))
        size = told["width"], told["height"]
        return Result(base64.b64decode(told["image"]), mask, size, told["source"], told["same"], told["isExact"])

    @property
    def text(self) -> str:
        text: str = self.page.locator("mask-editor").inner_text()
        return text


def as_the_service_reads(result: Result) -> Image.Image:
    """255 where it would repaint."""
    mask = result.mask and decode(file_of(result.mask), param="mask")
    read = mask_of(decode(result.image, param="image"), mask)
    assert read is not None
    return read


Opened = Callable[..., Editor]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served("mask-editor") as server:
        yield server.address


@pytest.fixture
def opened(chromium: Any, address: str) -> Iterator[Opened]:
    """Opens a page with an editor in it, and a file in that; keywords beyond the editor's are the browser's."""
    with ExitStack() as stack:

        def opened(
            data: bytes, *, limits: dict[str, float] | None = None, max_bytes: int | None = None, **options: Any
        ) -> Editor:
            return Editor(stack.enter_context(page_of(chromium, address, **options)), data, limits, max_bytes)

        yield opened


@pytest.fixture(scope="module")
def data() -> bytes:
    return file_of(noise(WIDTH, HEIGHT))


class TestPainting:
    @pytest.mark.parametrize("options", [{}, {"device_scale_factor": 2}, PHONE], ids=["desktop", "dense", "phone"])
    def test_what_is_drawn_is_transparent(self, opened: Opened, data: bytes, options: dict[str, Any]) -> None:
        editor = opened(data, **options)
        editor.draw((80, 100), (240, 100))
        result = editor.result()
        assert result.is_the_file
        assert result.image == data
        painted = result.painted
        assert painted[100, 80:240].all()
        assert not painted[:60].any()
        assert not painted[140:].any()
        assert not painted[:, :50].any()
        assert not painted[:, 270:].any()
        assert "marked" in editor.text

    def test_a_mask_comes_with_the_picture(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        editor.draw((80, 100), (120, 100))
        before = editor.result().painted
        editor.page.evaluate(
            """async () => {
                const editor = document.querySelector("mask-editor");
                const { image, mask } = await editor.result();
                await editor.open(image, mask);
            }"""
        )
        result = editor.result()
        assert result.is_the_file
        assert (result.painted == before).all()
        editor.draw((200, 100), (240, 100))
        after = editor.result().painted
        assert after[before].all()
        assert after[100, 200:240].all()
        editor.press("Undo")
        assert (editor.result().painted == before).all()

    def test_by_touch(self, opened: Opened, data: bytes) -> None:
        editor = opened(data, **PHONE)
        editor.page.touchscreen.tap(*editor.at(40, 40))
        dot = editor.result().painted
        assert dot[40, 40]
        assert 0 < dot.mean() < 0.1
        editor.touch(*[(editor.at(160, y),) for y in (60, 90, 120, 160)])
        assert editor.result().painted[60:160, 160].all()
        assert editor.page.evaluate("window.scrollY") == 0

    def test_two_fingers_zoom_and_do_not_draw(self, opened: Opened, data: bytes) -> None:
        editor = opened(data, **PHONE)
        (x, y) = editor.at(160, 100)
        editor.touch(((x - 20, y),), ((x - 20, y), (x + 20, y)), ((x - 80, y), (x + 80, y)))
        assert editor.result().mask is None
        zoom_out = editor.page.get_by_role("button", name="Zoom out")
        assert zoom_out.get_attribute("aria-disabled") == "false"
        editor.press("Zoom to fit")
        assert zoom_out.get_attribute("aria-disabled") == "true"

    def test_the_wheel_zooms_with_ctrl_and_else_scrolls_the_page(self, opened: Opened, data: bytes) -> None:
        editor = opened(data, viewport={"width": 900, "height": 300})
        editor.page.mouse.move(*editor.at(160, 50))
        editor.page.mouse.wheel(0, 50)
        editor.page.wait_for_function("() => window.scrollY > 0")
        zoom_out = editor.page.get_by_role("button", name="Zoom out")
        assert zoom_out.get_attribute("aria-disabled") == "true"
        editor.page.keyboard.down("Control")
        editor.page.mouse.wheel(0, -100)
        editor.page.keyboard.up("Control")
        editor.page.wait_for_function("element => element.ariaDisabled === 'false'", arg=zoom_out.element_handle())

    def test_by_keys_alone(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        keyboard = editor.page.keyboard
        for _ in range(30):
            keyboard.press("Tab")
            if editor.page.evaluate("document.activeElement.localName") == "canvas":
                break
        status = editor.page.get_by_role("status")
        assert status.inner_text() == "50 % across, 50 % down"
        keyboard.press("Shift+ArrowUp")
        keyboard.down("Space")
        for _ in range(6):
            keyboard.press("ArrowRight")
        keyboard.up("Space")
        painted = editor.result().painted
        row = int(painted.any(axis=1).nonzero()[0].mean())
        assert row < HEIGHT / 2 - 5
        assert painted[row, WIDTH // 2 : WIDTH // 2 + 50].all()
        assert not painted[row, : WIDTH // 2 - 30].any()
        before = painted.sum()
        keyboard.press("Shift+ArrowDown")
        keyboard.press("Enter")
        assert editor.result().painted.sum() > before
        keyboard.press("Control+z")
        assert "Undone" in status.inner_text()
        assert editor.result().painted.sum() == before

    def test_undo_and_redo(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        editor.draw((80, 100), (240, 100))
        once = editor.result().painted
        editor.draw((160, 40), (160, 160))
        editor.press("Undo")
        assert (editor.result().painted == once).mean() > 0.999
        editor.page.keyboard.press("Control+z")
        assert editor.result().mask is None
        assert editor.page.get_by_role("button", name="Undo").get_attribute("aria-disabled") == "true"
        editor.page.keyboard.press("Control+Shift+z")
        assert (editor.result().painted == once).mean() > 0.999

    def test_eraser_invert_and_clear(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        editor.draw((80, 100), (240, 100))
        editor.press("Eraser")
        editor.draw((160, 60), (160, 140))
        painted = editor.result().painted
        assert not painted[100, 160]
        assert painted[100, [90, 230]].all()
        editor.press("Invert the mask")
        assert (editor.result().painted == ~painted).all()
        editor.press("Clear the mask")
        assert editor.result().mask is None

    def test_what_is_erased_leaves_no_trace(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        for tool in ("Brush", "Eraser"):
            editor.press(tool)
            editor.draw((80, 93.3), (240, 101.7))
        assert editor.result().mask is None

    def test_size_of_the_brush(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        width = editor.page.get_by_role("slider", name="Size")
        width.fill("0")
        editor.draw((160, 100))
        assert editor.result().painted.sum() <= 9
        for _ in range(20):
            width.press("]")
        assert width.input_value() == "100"
        editor.draw((160, 100))
        columns = editor.result().painted[100].nonzero()[0]
        assert abs(np.ptp(columns) - 0.4 * WIDTH) < 4

    def test_changes_are_told(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        told = editor.page.evaluate("window.changes")
        editor.page.get_by_role("slider", name="Size").fill("10")
        assert editor.page.evaluate("window.changes") == told
        editor.draw((80, 100), (240, 100))
        assert editor.page.evaluate("window.changes") == told + 1

    def test_strokes_stay_where_they_are_when_the_page_changes_its_width(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        editor.draw((80, 100), (240, 100))
        once = editor.result().painted
        editor.page.set_viewport_size({"width": 360, "height": 740})
        editor.page.wait_for_function("() => document.querySelector('mask-editor canvas').clientWidth < 360")
        editor.page.evaluate(DRAWN)
        assert (editor.result().painted == once).all()
        editor.draw((160, 20), (160, 30))
        assert editor.result().painted[25, 160]
        assert editor.page.evaluate("document.documentElement.scrollWidth") == 360

    def test_a_zoomed_picture_is_drawn_where_it_is_seen(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        for _ in range(4):
            editor.press("Zoom in")
        box = editor.page.locator("mask-editor canvas").bounding_box()
        editor.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        painted = editor.result().painted
        assert painted[HEIGHT // 2, WIDTH // 2]
        rows, columns = painted.nonzero()
        assert abs(rows.mean() - HEIGHT / 2) < 2
        assert abs(columns.mean() - WIDTH / 2) < 2


class TestFiles:
    def test_nothing_done(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        result = editor.result()
        assert result.is_the_file
        assert (result.mask, result.size) == (None, (WIDTH, HEIGHT))
        assert result.source == {"x": 0, "y": 0, "width": 1, "height": 1}
        assert "whole picture may change" in editor.text

    def test_a_photo_that_lies_on_its_side(self, opened: Opened) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        photo = Image.new("RGB", (WIDTH, HEIGHT), "white")
        photo.paste("black", (0, 0, WIDTH, HEIGHT // 2))  # upright: the right half
        data = file_of(photo, "JPEG", exif=exif, quality=95)
        editor = opened(data)
        editor.size = (HEIGHT, WIDTH)
        editor.draw((30, 40), (60, 40))
        result = editor.result()
        assert result.image == data
        assert result.size == (HEIGHT, WIDTH)
        repainted = as_the_service_reads(result)
        assert repainted.size == (HEIGHT, WIDTH)
        assert repainted.getpixel((45, 40)) == 255
        assert repainted.getpixel((45, 140)) == 0

    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_where_programs_differ_on_what_is_up_the_picture_is_sent_as_seen(self, opened: Opened, kind: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = 3
        data = file_of(noise(WIDTH, HEIGHT), kind, exif=exif, lossless=True)
        editor = opened(data)
        editor.draw((80, 100), (240, 100))
        result = editor.result()
        assert result.image != data
        assert result.picture.getexif().get(0x0112) is None
        pixels, lying = np.asarray(result.picture.convert("RGB")), np.asarray(noise(WIDTH, HEIGHT))
        assert any((pixels == each).all() for each in (lying, lying[::-1, ::-1]))  # as the browser has it
        assert result.painted[100, 160]

    def test_own_transparency_is_marked_and_can_be_kept(self, opened: Opened) -> None:
        picture = noise(WIDTH, HEIGHT)
        picture.putalpha(255)
        picture.paste((0, 0, 0, 0), (0, 0, 100, 100))
        data = file_of(picture)
        editor = opened(data)
        assert "16 % is marked" in editor.text
        untouched = editor.result()
        assert untouched.is_the_file
        assert untouched.mask is None
        assert as_the_service_reads(untouched).getpixel((50, 50)) == 255
        editor.draw((200, 150), (240, 150))
        painted = editor.result().painted
        assert painted[:100, :100].all()
        assert painted[150, 220]
        editor.press("Clear the mask")
        editor.draw((200, 150), (240, 150))
        assert not editor.result().painted[:100, :100].any()

    def test_a_large_picture_is_reduced_and_its_mask_with_it(self, opened: Opened) -> None:
        editor = opened(
            file_of(noise(1000, 500), "JPEG"),
            limits={"min_side": 64, "max_side": 400, "max_pixels": 10**6, "max_aspect": 4, "multiple": 8},
        )
        editor.draw((250, 250), (750, 250))
        result = editor.result()
        assert result.size == (400, 200)
        assert result.painted[100, 100:300].all()
        assert "Reduced from 1000 × 500" in editor.text

    def test_a_large_file_is_saved_anew(self, opened: Opened) -> None:
        data = file_of(noise(WIDTH, HEIGHT))
        editor = opened(data, max_bytes=60_000)
        assert "too large to be sent as it is" in editor.text
        result = editor.result()
        assert len(result.image) <= 60_000 < len(data)
        assert not result.is_exact
        assert result.size == result.picture.size == (WIDTH, HEIGHT)

    def test_new_limits_are_kept_to(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        editor.draw((80, 100), (240, 100))
        editor.page.evaluate("document.querySelector('mask-editor').limits = { max_side: 160 }")
        result = editor.result()
        assert result.size == (160, 100)
        assert result.painted[50, 40:120].all()

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "not a PNG, JPEG or WebP"),
            (b"GIF89a" + bytes(40), "not a PNG, JPEG or WebP"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG, JPEG or WebP"),
            (b"\x89PNG\r\n\x1a\n" + bytes(40), "cannot be read"),
        ],
        ids=["empty", "gif", "svg", "damaged"],
    )
    def test_other_files_are_refused_and_what_is_open_stays(self, opened: Opened, data: bytes, message: str) -> None:
        editor = opened(file_of(noise(WIDTH, HEIGHT)))
        refusal = editor.page.evaluate(
            """async (data) => document.querySelector("mask-editor")
                .open(new Blob([Uint8Array.from(atob(data), (character) => character.charCodeAt(0))]))
                .then(() => null, (error) => error.message)""",
            to_base64(data),
        )
        assert message in refusal
        assert editor.result().size == (WIDTH, HEIGHT)

    def test_a_shape_that_the_model_refuses_is_told(self, opened: Opened) -> None:
        editor = opened(file_of(noise(500, 100)))
        assert "up to 4:1" in editor.page.get_by_role("alert").inner_text()
        with pytest.raises(Exception, match="Extend or crop"):
            editor.result()
        editor.press("Extend")
        editor.press("Square")
        assert editor.result().size == (496, 496)
        assert editor.page.get_by_role("alert").inner_text() == ""

    def test_closing(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        editor.page.evaluate("document.querySelector('mask-editor').close()")
        assert not editor.page.locator("mask-editor").is_visible()
        with pytest.raises(Exception, match="No picture is open"):
            editor.result()


class TestFrame:
    @pytest.mark.parametrize(
        ("preset", "size", "corner"),
        [
            ("+25 %", (480, 296), (80, 48)),
            ("Square", (320, 320), (0, 60)),
            ("16:9", (352, 200), (16, 0)),
        ],
    )
    def test_presets_paint_around_pixels_that_stay(
        self, opened: Opened, data: bytes, preset: str, size: tuple[int, int], corner: tuple[int, int]
    ) -> None:
        editor = opened(data)
        editor.press("Extend")
        editor.press(preset)
        result = editor.result()
        assert result.size == size
        (left, top), pixels = corner, np.asarray(result.picture)
        rows, columns = slice(top, top + HEIGHT), slice(left, left + WIDTH)
        assert (pixels[rows, columns, :3] == np.asarray(noise(WIDTH, HEIGHT))).all()
        kept = np.zeros((size[1], size[0]), dtype=bool)
        kept[rows, columns] = True
        assert (result.painted == ~kept).all()
        assert (np.asarray(as_the_service_reads(result)) == np.where(kept, 0, 255)).all()
        assert ((pixels[..., 3] == 255) == kept).all()
        assert f"{size[0]} × {size[1]}" in editor.text
        assert result.source["x"] == left / size[0]
        assert result.is_exact
        editor.press("Original")
        assert editor.result().is_the_file

    def test_an_edge_is_dragged_out_and_back(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        editor.press("Extend")
        told = editor.page.evaluate("window.changes")
        editor.drag("right edge", 100, 50)
        assert editor.page.evaluate("window.changes") == told + 1
        result = editor.result()
        assert result.size[0] > WIDTH + 20
        assert result.size[1] == HEIGHT
        assert result.source["x"] == result.source["y"] == 0
        assert result.painted[:, WIDTH:].all()
        assert not result.painted[:, :WIDTH].any()
        editor.press("Undo")
        assert editor.result().is_the_file

    def test_a_corner_is_dragged_in(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        editor.press("Extend")
        editor.drag("top left corner", 150, 100)
        result = editor.result()
        width, height = result.size
        assert width < WIDTH
        assert height < HEIGHT
        assert result.mask is None
        cropped = noise(WIDTH, HEIGHT).crop((WIDTH - width, HEIGHT - height, WIDTH, HEIGHT))
        assert np.abs(np.asarray(result.picture.convert("RGB"), int) - np.asarray(cropped, int)).max() == 0

    def test_by_keys(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        editor.press("Extend")
        handle = editor.page.get_by_role("button", name="Frame: left edge")
        handle.press("ArrowLeft")
        assert editor.result().size == (WIDTH + 8, HEIGHT)
        assert f"{WIDTH + 8} × {HEIGHT}" in editor.page.get_by_role("status").inner_text()
        handle.press("Shift+ArrowLeft")
        assert editor.result().size == (WIDTH + 72, HEIGHT)
        handle.press("ArrowUp")
        assert editor.result().size == (WIDTH + 72, HEIGHT)

    def test_the_mask_is_kept_and_moves_with_the_picture(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        editor.draw((80, 100), (240, 100))
        once = editor.result().painted
        editor.press("Extend")
        editor.press("+25 %")
        painted = editor.result().painted
        assert (painted[48 : 48 + HEIGHT, 80 : 80 + WIDTH] == once).all()
        editor.press("Brush")
        editor.press("Invert the mask")
        assert (editor.result().painted[48 : 48 + HEIGHT, 80 : 80 + WIDTH] == ~once).all()

    def test_a_frame_beyond_the_limits_scales_the_picture(self, opened: Opened, data: bytes) -> None:
        editor = opened(
            data, limits={"min_side": 64, "max_side": 320, "max_pixels": 10**6, "max_aspect": 4, "multiple": 16}
        )
        editor.press("Extend")
        editor.press("+25 %")
        result = editor.result()
        assert result.size == (320, 192)
        assert "scaled to 67 %" in editor.text
        assert result.painted[:, :50].all()
        assert not result.painted[60:130, 60:260].any()

    def test_the_frame_keeps_to_shapes_that_the_model_takes(self, opened: Opened, data: bytes) -> None:
        editor = opened(data, limits={"max_aspect": 2})
        editor.press("Extend")
        handle = editor.page.get_by_role("button", name="Frame: right edge")
        for _ in range(12):
            handle.press("Shift+ArrowRight")
        assert editor.result().size == (2 * HEIGHT, HEIGHT)

    def test_dragging_inside_moves_a_cropped_frame(self, opened: Opened, data: bytes) -> None:
        editor = opened(data)
        editor.press("Extend")
        editor.drag("left edge", 200, 0)
        before = editor.result()
        box = editor.page.locator("mask-editor canvas").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        editor.page.mouse.move(x, y)
        editor.page.mouse.down()
        editor.page.mouse.move(x - 40, y, steps=3)
        editor.page.mouse.up()
        after = editor.result()
        assert after.size == before.size
        assert after.source["x"] > before.source["x"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("mode", ["mask", "frame"])
def test_accessibility(opened: Opened, data: bytes, mode: str, scheme: str) -> None:
    editor = opened(data, color_scheme=scheme)
    editor.draw((80, 100), (240, 100))
    editor.page.evaluate("mode => (document.querySelector('mask-editor').mode = mode)", mode)
    assert violations(editor.page, "mask-editor") == []
