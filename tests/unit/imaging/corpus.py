"""Files made to break whatever decodes them, and what must come of each: its picture, a refusal, or either.

All are made here, the same each time; nothing is read from disk.
"""

from __future__ import annotations

import functools
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from deployments.errors import ImageRejected, TooLarge

Colour = tuple[int, ...]
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
PNG, JPEG, WEBP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF\xff\xff\xff\x00WEBPVP8 "


@dataclass(frozen=True)
class Picture:
    """What must be decoded: mode, size, the colours of some pixels and how far off they may be."""

    size: tuple[int, int]
    mode: str = "RGB"
    pixels: dict[tuple[int, int], Colour] = field(default_factory=dict)
    off_by: int = 0
    or_refused: bool = False  # where it is for the decoder to say, but nothing else must be shown


class Refused(Enum):
    """No picture must come of it."""

    REJECTED = (ImageRejected,)
    TOO_LARGE = (TooLarge,)
    SOMEHOW = (ImageRejected, TooLarge)  # as versions of the decoder differ


ANYTHING = None  # a picture or a refusal: what is damaged may show anything
Outcome = Picture | Refused | None


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[], bytes]
    outcome: Outcome

    @property
    def data(self) -> bytes:
        return self.make()


def cases() -> list[Case]:
    """All of them, each name once."""
    groups = (modes, orientations, metadata, bombs, truncations, disguises, polyglots, png_structure, jpeg_structure)
    return [case for group in (*groups, webp_structure, shapes, sequences, flips) for case in group()]


# What files are made of.


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, bits: int = 8, colour: int = 2, interlace: int = 0, method: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, method, 0, interlace))


def png(*chunks: bytes) -> bytes:
    return PNG + b"".join(chunks) + chunk(b"IEND")


def pixels(rows: bytes) -> bytes:
    """The chunk of them; each row begins with the number of its filter."""
    return chunk(b"IDAT", zlib.compress(rows))


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def riff(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in parts
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(*entries: bytes, order: bytes = b"II", offset: int = 8) -> bytes:
    """EXIF data of these entries, little-endian."""
    return order + b"*\0" + struct.pack("<IH", offset, len(entries)) + b"".join(entries) + bytes(4)


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")


def turned(orientation: int) -> bytes:
    return tiff(entry(ExifTags.Base.Orientation, 3, 1, struct.pack("<H", orientation)))


@functools.cache
def quarters(width: int = 32, height: int = 16) -> Image.Image:
    """Red, green above blue, white: tells every orientation from every other."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height))
    image.paste(BLUE, (0, height // 2, width, height))
    image.paste(WHITE, (width // 2, height // 2, width, height))
    return image


CORNERS = {(2, 2): RED, (29, 2): GREEN, (2, 13): BLUE, (29, 13): WHITE}
WHOLE = Picture((32, 16), pixels=CORNERS)
NEARLY = Picture((32, 16), pixels=CORNERS, off_by=12)
REJECTED, TOO_LARGE = Refused.REJECTED, Refused.TOO_LARGE


@functools.cache
def noise(form: str, mode: str = "RGB", **options: object) -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return encoded(Image.fromarray(values).convert(mode), form, **dict(options))


@functools.cache
def sample(form: str) -> bytes:
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    return encoded(quarters(), form, **options)


def with_exif(form: str, exif: bytes) -> bytes:
    """The sample with it, whatever it is: put there by hand, since no library would write some of it."""
    data = sample(form)
    if form == "PNG":
        return data[:33] + chunk(b"eXIf", exif) + data[33:]
    if form == "JPEG":
        return data[:2] + segment(0xE1, b"Exif\0\0" + exif) + data[2:]
    image = data[12:]
    extended = struct.pack("<B3x", 0x08) + struct.pack("<I", 31)[:3] + struct.pack("<I", 15)[:3]
    return riff((b"VP8X", extended), (image[:4], image[8:]), (b"EXIF", exif))


def given(name: str, data: bytes, outcome: Outcome) -> Case:
    return Case(name, lambda: data, outcome)


# The cases.


def modes() -> Iterator[Case]:
    """Every mode, with its colours."""

    def small(colours: list[Colour], mode: str = "RGB", off_by: int = 0) -> Picture:
        return Picture((len(colours), 1), mode, {(x, 0): colour for x, colour in enumerate(colours)}, off_by)

    def by_hand(name: str, bits: int, colour: int, row: bytes, shown: Picture, *before: bytes) -> Case:
        data = png(header(shown.size[0], 1, bits, colour), *before, pixels(b"\0" + row))
        return given(f"PNG of {name}", data, shown)

    def grey(*values: int) -> list[Colour]:
        return [(value,) * 3 for value in values]

    palette = chunk(b"PLTE", bytes([*RED, *GREEN, *BLUE, *WHITE]))
    four = [RED, GREEN, BLUE, WHITE]
    yield by_hand("1-bit grey", 1, 0, b"\x50", small(grey(0, 255, 0, 255)))
    yield by_hand("2-bit grey", 2, 0, b"\x1b", small(grey(0, 85, 170, 255)))
    yield by_hand("4-bit grey", 4, 0, b"\x0f\x80", small(grey(0, 255, 136, 0)))
    yield by_hand("8-bit grey", 8, 0, b"\0\x07\xff", small(grey(0, 7, 255)))
    yield by_hand("16-bit grey", 16, 0, struct.pack(">4H", 0, 0x0100, 0x8000, 0xFFFF), small(grey(0, 1, 128, 255)))
    yield by_hand("16-bit colour", 16, 2, struct.pack(">3H", 0, 0x8000, 0xFFFF), small([(0, 128, 255)]))
    yield by_hand("8-bit grey with alpha", 8, 4, b"\x09\x1e\x09\xff", small([(9, 9, 9, 30), (9, 9, 9, 255)], "RGBA"))
    yield by_hand(
        "16-bit grey with alpha", 16, 4, struct.pack(">2H", 0x8000, 0x4000), small([(128, 128, 128, 64)], "RGBA")
    )
    yield by_hand("colour with alpha", 8, 6, bytes([1, 2, 3, 4]), small([(1, 2, 3, 4)], "RGBA"))
    yield by_hand("colour with an alpha that hides nothing", 8, 6, bytes([1, 2, 3, 255]), small([(1, 2, 3)]))
    yield by_hand(
        "16-bit colour with alpha",
        16,
        6,
        struct.pack(">4H", 0x100, 0x8000, 0xFFFF, 0x4000),
        small([(1, 128, 255, 64)], "RGBA"),
    )
    yield by_hand("a palette", 8, 3, bytes(range(4)), small(four), palette)
    yield by_hand("a 2-bit palette", 2, 3, b"\x1b", small(four), palette)
    yield by_hand("a 1-bit palette", 1, 3, b"\x40", small([RED, GREEN]), palette)
    yield by_hand("a 4-bit palette", 4, 3, b"\x01\x23", small(four), palette)
    clear = [(*RED, 255), (*GREEN, 0), (*BLUE, 255), (*WHITE, 255)]
    yield by_hand(
        "a palette with a transparent index",
        8,
        3,
        bytes(range(4)),
        small(clear, "RGBA"),
        palette,
        chunk(b"tRNS", b"\xff\0"),
    )
    shade = [(*RED, 10), (*GREEN, 20), (*BLUE, 255), (*WHITE, 255)]
    yield by_hand(
        "a palette with alphas", 8, 3, bytes(range(4)), small(shade, "RGBA"), palette, chunk(b"tRNS", b"\x0a\x14")
    )
    yield by_hand(
        "a palette with opaque alphas", 8, 3, bytes(range(4)), small(four), palette, chunk(b"tRNS", b"\xff" * 4)
    )
    yield by_hand(
        "a transparent colour",
        8,
        2,
        bytes([1, 2, 3, 4, 5, 6]),
        small([(1, 2, 3, 0), (4, 5, 6, 255)], "RGBA"),
        chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)),
    )
    yield by_hand(
        "a transparent grey",
        8,
        0,
        b"\x07\x08",
        small([(7, 7, 7, 0), (8, 8, 8, 255)], "RGBA"),
        chunk(b"tRNS", b"\0\x07"),
    )
    yield by_hand(
        "a transparent 16-bit grey",
        16,
        0,
        b"\x80\0\xff\xff",
        small([(128, 128, 128, 255), (*WHITE, 0)], "RGBA"),
        chunk(b"tRNS", b"\xff\xff"),
    )
    for form in ("PNG", "WEBP"):
        image = quarters().convert("RGBA")
        image.putalpha(Image.linear_gradient("L").resize((32, 16)))
        lossless = {"lossless": True, "exact": True} if form == "WEBP" else {}
        shown = {at: (*colour, image.getpixel(at)[3]) for at, colour in CORNERS.items()}  # type: ignore[index]
        yield given(f"{form} with alpha", encoded(image, form, **lossless), Picture((32, 16), "RGBA", shown))
    yield given("lossy WebP with alpha", encoded(image, "WEBP", quality=90), Picture((32, 16), "RGBA"))
    yield given("lossy WebP", encoded(quarters(), "WEBP", quality=100), Picture((32, 16), pixels=CORNERS, off_by=40))
    for form in ("PNG", "JPEG", "WEBP"):
        yield given(f"good {form}", sample(form), NEARLY if form == "JPEG" else WHOLE)
    for name, options in {
        "progressive": {"progressive": True},
        "optimised": {"optimize": True},
        "with restarts": {"restart_marker_rows": 1},
        "with half the colours": {"subsampling": 2},
    }.items():
        yield given(f"JPEG {name}", encoded(quarters(), "JPEG", quality=95, **options), NEARLY)
    yield given("JPEG of the worst quality", encoded(quarters(), "JPEG", quality=1), Picture((32, 16)))
    flat = Image.new("L", (8, 8), 77)
    yield given(
        "grey JPEG", encoded(flat, "JPEG", quality=95), Picture((8, 8), pixels={(4, 4): (77, 77, 77)}, off_by=2)
    )
    for name, ink, colour in (
        ("no", (0, 0, 0, 0), WHITE),
        ("black", (0, 0, 0, 255), BLACK),
        ("cyan", (255, 0, 0, 0), (0, 255, 255)),
        ("yellow", (0, 0, 255, 0), (255, 255, 0)),
    ):
        inked = encoded(Image.new("CMYK", (8, 8), ink), "JPEG", quality=100)
        shown = Picture((8, 8), pixels={(4, 4): colour}, off_by=3)
        yield given(f"CMYK JPEG of {name} ink", inked, shown)
        yield given(f"CMYK JPEG of {name} ink without Adobe's mark", without_adobe(inked), shown)
    yield given("16-bit JPEG", sample("JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x10"), REJECTED)
    yield given("12-bit JPEG", sample("JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), REJECTED)
    yield given("JPEG that says it is arithmetic", sample("JPEG").replace(b"\xff\xc0", b"\xff\xc9"), ANYTHING)
    yield given("JPEG that says it is lossless", sample("JPEG").replace(b"\xff\xc0", b"\xff\xc3"), REJECTED)
    yield given("interlaced PNG", interlaced(), WHOLE)


def without_adobe(data: bytes) -> bytes:
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


def interlaced() -> bytes:
    """Adam7: seven small pictures."""
    values, rows = np.asarray(quarters()), b""
    for left, top, across, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        rows += b"".join(b"\0" + row.tobytes() for row in values[top::down, left::across])
    return png(header(32, 16, interlace=1), pixels(rows))


def orientations() -> Iterator[Case]:
    """Where the colours of the corners go, by the eight of EXIF."""
    order = {
        1: (RED, GREEN, BLUE, WHITE),
        2: (GREEN, RED, WHITE, BLUE),
        3: (WHITE, BLUE, GREEN, RED),
        4: (BLUE, WHITE, RED, GREEN),
        5: (RED, BLUE, GREEN, WHITE),
        6: (BLUE, RED, WHITE, GREEN),
        7: (WHITE, GREEN, BLUE, RED),
        8: (GREEN, WHITE, RED, BLUE),
    }
    for form in ("PNG", "JPEG", "WEBP"):
        for orientation, colours in order.items():
            lies = orientation > 4
            size, corners = ((16, 32), ((2, 2), (13, 2), (2, 29), (13, 29))) if lies else ((32, 16), tuple(CORNERS))
            shown = Picture(size, pixels=dict(zip(corners, colours, strict=True)), off_by=12 if form == "JPEG" else 0)
            yield given(f"{form} turned by EXIF {orientation}", with_exif(form, turned(orientation)), shown)
            xmp = (
                b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
                % orientation
            )
            if form == "PNG":
                text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
                yield given(f"PNG turned by XMP {orientation}", sample("PNG")[:33] + text + sample("PNG")[33:], shown)
            if form == "JPEG":
                data = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)
                yield given(f"JPEG turned by XMP {orientation}", sample("JPEG")[:2] + data + sample("JPEG")[2:], shown)


def metadata() -> Iterator[Case]:
    """EXIF data that is broken, huge or tells where somebody lives, and other data that is not pixels."""
    broken = {
        "empty": b"",
        "a byte": b"I",
        "no header": b"hello world",
        "header only": b"II*\0",
        "another number": b"II\x2b\0" + turned(6)[4:],
        "an offset beyond": tiff(offset=0x7FFFFFFF),
        "an offset into the header": tiff(offset=2),
        "an endless directory": b"II*\0" + struct.pack("<IH", 8, 65535),
        "a directory that follows itself": turned(1)[:-4] + struct.pack("<I", 8),
        "a value beyond": tiff(entry(ExifTags.Base.Orientation, 3, 2**31, b"\xff\xff\xff\x7f")),
        "a kind that is none": tiff(entry(ExifTags.Base.Orientation, 99, 1, b"\6")),
        "an orientation in words": tiff(entry(ExifTags.Base.Orientation, 2, 4, b"six\0")),
        "an orientation as a fraction": tiff(entry(ExifTags.Base.Orientation, 5, 1, struct.pack("<I", 8))),
        "an orientation of nothing": tiff(entry(ExifTags.Base.Orientation, 3, 0, b"")),
        "a great many orientations": tiff(*[entry(ExifTags.Base.Orientation, 3, 1, b"\1\0")] * 5000),
        "a place": tiff(entry(ExifTags.IFD.GPSInfo, 4, 1, struct.pack("<I", 8))),
        "a place in a loop": tiff(
            entry(ExifTags.IFD.Exif, 4, 1, struct.pack("<I", 8)),
            entry(ExifTags.IFD.GPSInfo, 4, 1, struct.pack("<I", 8)),
        ),
        "orientation 0": turned(0),
        "orientation 9": turned(9),
        "orientation 65535": turned(65535),
        "big-endian of little-endian": b"MM\0*" + turned(6)[4:],
        "60 KB": turned(1) + bytes(60_000),
    }
    for form in ("PNG", "JPEG", "WEBP"):
        shown = NEARLY if form == "JPEG" else WHOLE
        for name, exif in broken.items():
            yield given(f"{form} with EXIF of {name}", with_exif(form, exif), replace(shown, or_refused=True))
    for form in ("PNG", "WEBP"):
        yield given(f"{form} with 1 MB of EXIF", with_exif(form, turned(1) + bytes(10**6)), WHOLE)
    yield given(
        "JPEG with 50 segments of EXIF",
        sample("JPEG")[:2] + segment(0xE1, b"Exif\0\0" + turned(1) + bytes(60_000)) * 50 + sample("JPEG")[2:],
        replace(NEARLY, or_refused=True),
    )
    profile = b"not a profile" * 1000
    for form in ("PNG", "JPEG", "WEBP"):
        options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
        yield given(
            f"{form} with a colour profile of nonsense",
            encoded(quarters(), form, icc_profile=profile, **options),
            NEARLY if form == "JPEG" else WHOLE,
        )
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "<script>alert(1)</script>")
    text.add_itxt("Author", "somebody", zip=True)
    yield given("PNG with texts", encoded(quarters(), pnginfo=text), WHOLE)
    yield given(
        "JPEG with a comment", sample("JPEG")[:2] + segment(0xFE, b"*/ alert(1) /*") + sample("JPEG")[2:], NEARLY
    )
    yield given("JPEG with 1000 comments", sample("JPEG")[:2] + segment(0xFE, b"a") * 1000 + sample("JPEG")[2:], NEARLY)


CANARY = b"where somebody lives"


@functools.cache
def told(form: str) -> bytes:
    """A picture that carries whatever its format can beside pixels, and the canary in each place."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = CANARY.decode()
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = CANARY
    options: dict[str, object] = {"exif": exif, "icc_profile": CANARY * 10, "xmp": b"<x>" + CANARY + b"</x>"}
    if form == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", CANARY.decode())
        text.add_itxt("Title", CANARY.decode())
        text.add(b"prVt", CANARY)
        options = {**options, "pnginfo": text}
        del options["xmp"]
    if form == "JPEG":
        options["comment"] = CANARY
    image = quarters().convert("RGB" if form == "JPEG" else "RGBA")
    if form != "JPEG":
        image.putalpha(Image.linear_gradient("L").resize((32, 16)))
    return encoded(image, form, **options) + CANARY


def bombs() -> Iterator[Case]:
    """Little that becomes much."""

    def text_bomb(kind: bytes, before: bytes) -> bytes:
        return png(header(1, 1), chunk(kind, before + zlib.compress(bytes(50 * 2**20), 9)), pixels(bytes(4)))

    def one_colour(side: int) -> bytes:
        packer = zlib.compressobj(9)
        row = bytes(1 + side // 8)
        packed = b"".join(packer.compress(row * 1000) for _ in range(side // 1000)) + packer.flush()
        return png(header(side, side, 1, 0), chunk(b"IDAT", packed))

    yield Case("PNG of 30000x30000", lambda: one_colour(30_000), TOO_LARGE)
    for width, height in ((4096, 4097), (10_000, 10_000), (2**31 - 1, 1), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1)):
        yield given(f"PNG that says {width}x{height}", png(header(width, height), pixels(bytes(4))), TOO_LARGE)
    for kind, before in ((b"zTXt", b"Comment\0\0"), (b"iTXt", b"Comment\0\1\0\0\0"), (b"iCCP", b"profile\0\0")):
        yield Case(f"PNG with a bomb in {kind.decode()}", functools.partial(text_bomb, kind, before), ANYTHING)
    many = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**20 - 1), 9)) * 200
    yield given("PNG with 200 bombs in zTXt", png(header(1, 1), many, pixels(bytes(4))), ANYTHING)
    yield Case(
        "PNG of 200 MB of pixels behind its own", lambda: png(header(1, 1), pixels(bytes(200 * 2**20))), ANYTHING
    )
    yield given(
        "PNG of a million empty chunks", png(header(1, 1), chunk(b"tEXt", b"a\0") * 300_000, pixels(bytes(4))), ANYTHING
    )
    yield given("PNG of a million empty IDATs", png(header(1, 1), chunk(b"IDAT") * 300_000, pixels(bytes(4))), ANYTHING)
    for size in ((65535, 65535), (65500, 65500), (20_000, 1000)):
        data = sample("JPEG")
        at = data.index(b"\xff\xc0") + 5
        data = data[:at] + struct.pack(">HH", *size) + data[at + 4 :]
        yield given(f"JPEG that says {size[0]}x{size[1]}", data, TOO_LARGE)
    yield Case("JPEG of a great many scans", lambda: of_many_scans(2048, 20_000), REJECTED)
    for kind, data in (
        ("lossy", (b"VP8 ", b"\x30\x01\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(100))),
        ("lossless", (b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(100))),
    ):
        yield given(f"{kind} WebP that says 16383x16383", riff(data), Refused.SOMEHOW)
    canvas = struct.pack("<B3x", 0x02) + b"\xff\xff\xff" * 2
    yield given("WebP of a canvas of 2^24 by 2^24", riff((b"VP8X", canvas), (b"ANIM", bytes(6))), Refused.SOMEHOW)


def truncations() -> Iterator[Case]:
    """Cut off at every tenth of it, and within the first bytes."""
    for form in ("PNG", "JPEG", "WEBP"):
        data = noise(form)
        for length in (*range(33), *(len(data) * tenth // 10 for tenth in range(1, 9))):
            yield given(f"{form} cut off at {length}", data[:length], REJECTED)
        yield given(f"{form} without its last bytes", data[:-12], ANYTHING)
        yield given(f"{form} of zeros behind its first half", data[: len(data) // 2] + bytes(len(data)), ANYTHING)
        yield given(f"{form} without its first byte", data[1:], REJECTED)
        yield given(f"{form} behind a line break", b"\n" + data, REJECTED)


def disguises() -> Iterator[Case]:
    """Other formats, as they are and behind the first bytes of one that is taken."""
    small, palette = quarters(8, 8), quarters(8, 8).convert("P")
    others = {
        form: encoded(small, form) for form in "TIFF BMP ICO ICNS PPM TGA JPEG2000 PDF EPS DDS PCX SGI AVIF".split()
    }
    others |= {"GIF": encoded(palette, "GIF"), "XBM": encoded(small.convert("1"), "XBM")}
    others |= {
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(400),
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><script>alert(1)</script></svg>',
        "SVG behind XML": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
        "PostScript": b"%!PS-Adobe-3.0\n(/etc/passwd) (r) file\n",
        "FITS": b"SIMPLE  =                    T".ljust(2880),
        "HTML": b"<!doctype html><script>alert(1)</script>",
        "ZIP": zipped(),
        "ELF": b"\x7fELF" + bytes(500),
        "MP4": b"\0\0\0\x18ftypheic" + bytes(500),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(500),
        "MNG": b"\x8aMNG\r\n\x1a\n" + bytes(500),
        "JNG": b"\x8bJNG\r\n\x1a\n" + bytes(500),
        "JPEG XL": b"\xff\x0a" + bytes(500),
        "WAV": b"RIFF\x24\0\0\0WAVEfmt " + bytes(500),
    }
    for name, data in others.items():
        yield given(f"{name} as it is", data, REJECTED)
        for form, magic in (("PNG", PNG), ("JPEG", JPEG), ("WebP", WEBP)):
            yield given(f"{name} behind {form}'s first bytes", magic + data, REJECTED)
    for name, data in {
        "nothing": b"",
        "a zero": b"\0",
        "zeros": bytes(10_000),
        "text": b"hello" * 100,
        "random bytes": random.Random(0).randbytes(10_000),
        "PNG's first bytes": PNG,
        "JPEG's first bytes": b"\xff\xd8\xff",
        "WebP's first bytes": WEBP,
        "PNG as text": PNG.replace(b"\r\n", b"\n") + sample("PNG")[8:],
        "PNG in UTF-8": sample("PNG").decode("latin-1").encode(),
    }.items():
        yield given(name, data, REJECTED)


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("evil.py"), "print(1)")
    return file.getvalue()


def polyglots() -> Iterator[Case]:
    """A picture that is something else, too, is that picture."""
    script = b"<script>alert(1)</script>"
    for form, shown in (("PNG", WHOLE), ("JPEG", NEARLY), ("WEBP", WHOLE)):
        for name, more in (
            ("a ZIP", zipped()),
            ("HTML", script),
            ("PHP", b"<?php phpinfo(); ?>"),
            ("a PNG", sample("PNG")),
            ("1 MB", bytes(2**20)),
        ):
            yield given(f"{form} with {name} behind it", sample(form) + more, shown)
    data = sample("PNG")
    yield given("PNG with HTML in a text", data[:33] + chunk(b"tEXt", b"a\0" + script) + data[33:], WHOLE)
    yield given("PNG with HTML in a chunk of its own", data[:33] + chunk(b"htMl", script) + data[33:], WHOLE)
    data = sample("JPEG")
    yield given(
        "JPEG that is JavaScript",
        data[:2] + segment(0xE0, b"JFIF\0" + bytes(9)) + segment(0xFE, b"=alert(1)/*") + data[2:],
        NEARLY,
    )
    data = sample("WEBP")
    yield given("WebP with HTML in a part of its own", riff((data[12:16], data[20:]), (b"html", script)), WHOLE)


def png_structure() -> Iterator[Case]:
    """Chunks that are wrong, missing, out of order, too many or too large."""
    data = sample("PNG")
    body, start, end = data[33:-12], data[:33], data[-12:]

    def wrong_sum(at: int) -> bytes:
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    row = pixels(bytes(4))
    yield given("PNG with a wrong CRC of its header", wrong_sum(32), REJECTED)
    yield given("PNG with a wrong CRC of its pixels", wrong_sum(len(data) - 13), replace(WHOLE, or_refused=True))
    yield given("PNG with a wrong CRC at its end", wrong_sum(len(data) - 1), replace(WHOLE, or_refused=True))
    text = chunk(b"tEXt", b"a\0b")
    yield given(
        "PNG with a wrong CRC of a text", start + text[:-1] + b"\0" + body + end, replace(WHOLE, or_refused=True)
    )
    yield given("PNG with chunks behind its end", data + text + chunk(b"IDAT", b"x") + chunk(b"eXIf", turned(6)), WHOLE)
    yield given("PNG with a picture behind its end", data + header(4096, 4097) + row, WHOLE)
    yield given("PNG without an end", start + body, replace(WHOLE, or_refused=True))
    yield given("PNG without pixels", start + end, REJECTED)
    yield given("PNG without a header", PNG + body + end, REJECTED)
    yield given("PNG whose pixels come first", PNG + body + data[8:33] + end, REJECTED)
    yield given("PNG of nothing but an end", PNG + end, REJECTED)
    yield given("PNG with a text before its header", PNG + text + data[8:], replace(WHOLE, or_refused=True))
    yield given("PNG with two headers", start + header(32, 16) + body + end, replace(WHOLE, or_refused=True))
    yield given("PNG with a second, larger header", start + header(4096, 4097) + body + end, ANYTHING)
    yield given("PNG of two pictures", start + body + header(1, 1) + row + end, ANYTHING)
    yield given(
        "PNG with an unknown chunk that is critical",
        start + chunk(b"ABCD", b"x") + body + end,
        replace(WHOLE, or_refused=True),
    )
    yield given("PNG with a chunk of no name", start + chunk(b"\0\0\0\0") + body + end, REJECTED)
    for length in (2**31 - 1, 2**31, 2**32 - 1, len(data), 1):
        yield given(
            f"PNG with a chunk of {length} bytes",
            start + struct.pack(">I", length) + b"tEXt" + body + end,
            ANYTHING if length < 100 else REJECTED,
        )
        yield given(f"PNG with pixels of {length} bytes", start + struct.pack(">I", length) + body[4:] + end, ANYTHING)
    yield given("PNG with an empty header", PNG + chunk(b"IHDR") + body + end, REJECTED)
    yield given("PNG with a short header", PNG + chunk(b"IHDR", data[16:28]) + body + end, REJECTED)
    yield given(
        "PNG with a long header",
        PNG + chunk(b"IHDR", data[16:29] + bytes(9)) + body + end,
        replace(WHOLE, or_refused=True),
    )
    for width, height in ((0, 0), (0, 16), (32, 0)):
        yield given(f"PNG of {width}x{height}", png(header(width, height), row), REJECTED)
    for width, height in ((2**32 - 1, 1), (1, 2**32 - 1), (2**32 - 32, 2**32 - 16)):
        yield given(f"PNG of a negative {width}x{height}", png(header(width, height), row), TOO_LARGE)
    for bits, colour in ((0, 2), (3, 0), (1, 2), (16, 3), (8, 1), (8, 5), (8, 7), (255, 255), (32, 2)):
        yield given(f"PNG of {bits} bits and colour {colour}", png(header(1, 1, bits, colour), row), REJECTED)
    yield given("PNG of another interlace", png(header(1, 1, interlace=2), row), ANYTHING)
    yield given("PNG of another compression", png(header(1, 1, method=1), row), ANYTHING)
    for number in (5, 255):
        yield given(f"PNG with filter {number}", png(header(1, 1), pixels(bytes([number, 0, 0, 0]))), REJECTED)
    yield given(
        "PNG with too few rows",
        png(header(1, 9), pixels(b"\0\xff\xff\xff")),
        Picture((1, 9), pixels={(0, 0): WHITE, (0, 8): BLACK}),
    )
    yield given("PNG with half a row", png(header(9, 1), row), REJECTED)
    yield given(
        "PNG with too many rows", png(header(1, 1), pixels(bytes(4) * 99)), Picture((1, 1), pixels={(0, 0): BLACK})
    )
    yield given("PNG whose pixels are not compressed", png(header(1, 1), chunk(b"IDAT", bytes(4))), REJECTED)
    yield given(
        "PNG whose pixels are compressed otherwise",
        png(header(1, 1), chunk(b"IDAT", b"\x1f\x8b" + bytes(30))),
        REJECTED,
    )
    broken = zlib.compress(bytes(4))
    yield given(
        "PNG with a wrong sum of its pixels", png(header(1, 1), chunk(b"IDAT", broken[:-1] + b"\xff")), ANYTHING
    )
    split = b"".join(chunk(b"IDAT", broken[at : at + 1]) for at in range(len(broken)))
    yield given("PNG with a chunk for each byte", png(header(1, 1), split), Picture((1, 1), pixels={(0, 0): BLACK}))
    yield given(
        "PNG with a text amid its pixels",
        png(header(1, 1), chunk(b"IDAT", broken[:4]), text, chunk(b"IDAT", broken[4:])),
        ANYTHING,
    )
    for name, palette in {
        "no palette": b"",
        "an empty palette": chunk(b"PLTE"),
        "half a colour": chunk(b"PLTE", b"a"),
        "too many colours": chunk(b"PLTE", bytes(3 * 300)),
    }.items():
        yield given(f"PNG with {name}", png(header(1, 1, 8, 3), palette, pixels(b"\0\xff")), ANYTHING)
    for colour in (0, 2, 3, 6):
        for size in (0, 1, 7, 10_000):
            clear = chunk(b"tRNS", bytes(size))
            palette = chunk(b"PLTE", bytes([*RED, *GREEN])) if colour == 3 else b""
            rows = pixels(bytes(1 + {0: 1, 2: 3, 3: 1, 6: 4}[colour]))
            yield given(
                f"PNG of colour {colour} with {size} bytes of transparency",
                png(header(1, 1, 8, colour), palette, clear, rows),
                ANYTHING,
            )
    yield given("PNG without a gamma", png(header(1, 1), chunk(b"gAMA", bytes(4)), row), ANYTHING)
    yield given(
        "PNG with no size of a pixel",
        png(header(1, 1), chunk(b"pHYs"), chunk(b"cHRM", b"a"), chunk(b"tIME", bytes(7)), row),
        ANYTHING,
    )


def jpeg_structure() -> Iterator[Case]:
    data = sample("JPEG")
    frame, tables, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xdb"), data.index(b"\xff\xda")
    codes = data.index(b"\xff\xc4")
    yield given("JPEG without an end", data[:-2], replace(NEARLY, or_refused=True))
    yield given("JPEG of no height", data[: frame + 5] + b"\0\0" + data[frame + 7 :], REJECTED)
    yield given("JPEG of no width", data[: frame + 7] + b"\0\0" + data[frame + 9 :], REJECTED)
    yield given("JPEG of one row more", data[: frame + 5] + b"\0\x11" + data[frame + 7 :], ANYTHING)
    yield given("JPEG without quantization", data[:tables] + data[frame:], REJECTED)
    yield given("JPEG without codes", data[:codes] + data[scan:], ANYTHING)
    yield given("JPEG without a frame", data[:frame] + data[codes:], REJECTED)
    yield given("JPEG of two frames", data[:codes] + data[frame:codes] + data[codes:], REJECTED)
    yield given("JPEG without a scan", data[:scan] + b"\xff\xd9", REJECTED)
    yield given("JPEG of two beginnings", data[:2] + data, ANYTHING)
    yield given("JPEG of no components", data[: frame + 9] + b"\0" + data[frame + 10 :], REJECTED)
    for count in (2, 5, 255):
        yield given(f"JPEG of {count} components", data[: frame + 9] + bytes([count]) + data[frame + 10 :], REJECTED)
    yield given("JPEG of sampling by zero", data[: frame + 11] + b"\0" + data[frame + 12 :], REJECTED)
    yield given("JPEG of sampling by fifteen", data[: frame + 11] + b"\xff" + data[frame + 12 :], REJECTED)
    for length in (0, 1, 2, 65535):
        yield given(
            f"JPEG with a segment of {length} bytes",
            data[:2] + b"\xff\xe1" + struct.pack(">H", length) + data[2:],
            ANYTHING,
        )
    yield given("JPEG with codes of nonsense", data[: codes + 5] + b"\xff" * 16 + data[codes + 21 :], ANYTHING)
    yield given(
        "JPEG with restarts everywhere", data[: scan + 14] + b"\xff\xd0\xff\xd7" * 1000 + data[scan + 14 :], ANYTHING
    )
    yield given("JPEG of padding", b"\xff\xd8" + b"\xff" * 10**6 + data[2:], ANYTHING)
    for marker in (0xC1, 0xC2, 0xC5, 0xC7, 0xCA, 0xCB, 0xCF):
        yield given(
            f"JPEG whose frame is {marker:X}", data[: frame + 1] + bytes([marker]) + data[frame + 2 :], ANYTHING
        )


def of_many_scans(side: int, scans: int) -> bytes:
    """A progressive one whose last scan comes again and again, each over the whole picture."""
    data = encoded(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + b"\xff\xd9"


def webp_structure() -> Iterator[Case]:
    for name, data in (("lossless", sample("WEBP")), ("lossy", encoded(quarters(), "WEBP"))):
        kind, body = data[12:16], data[20:]
        yield given(f"{name} WebP of a length of 0", data[:4] + bytes(4) + data[8:], ANYTHING)
        yield given(f"{name} WebP of the greatest length", data[:4] + b"\xff" * 4 + data[8:], ANYTHING)
        yield given(f"{name} WebP with a part of the greatest length", data[:16] + b"\xff" * 4 + body, REJECTED)
        yield given(f"{name} WebP of zeros", riff((kind, bytes(len(body)))), REJECTED)
        yield given(f"{name} WebP twice", riff((kind, body), (kind, body)), ANYTHING)
        yield given(
            f"{name} WebP with an alpha of nonsense",
            riff((b"VP8X", b"\x10\0\0\0\x1f\0\0\x0f\0\0"), (b"ALPH", b"\1" * 50), (kind, body)),
            ANYTHING,
        )
        yield given(
            f"{name} WebP on a canvas of another size",
            riff((b"VP8X", b"\0\0\0\0\xff\0\0\xff\0\0"), (kind, body)),
            ANYTHING,
        )
    yield given("WebP of no part", riff(), REJECTED)
    yield given("WebP of unknown parts", riff((b"ABCD", bytes(8))), REJECTED)
    yield given("WebP of 100000 parts", riff(*[(b"ABCD", b"")] * 100_000), REJECTED)


def shapes() -> Iterator[Case]:
    """The thinnest."""
    for size in ((1, 65535), (65535, 1), (1, 4096 * 4096), (4096 * 4096, 1), (1, 1)):
        image = Image.new("1", size, 1)
        far = (size[0] - 1, size[1] - 1)
        yield given(f"PNG of {size[0]}x{size[1]}", encoded(image), Picture(size, pixels={(0, 0): WHITE, far: WHITE}))
    for size in ((1, 65500), (65500, 1)):
        data = encoded(Image.new("L", size, 255), "JPEG")
        yield given(f"JPEG of {size[0]}x{size[1]}", data, Picture(size, pixels={(0, 0): WHITE}, off_by=2))
    for size in ((1, 16383), (16383, 1)):
        data = encoded(Image.new("RGB", size, WHITE), "WEBP")
        yield given(f"WebP of {size[0]}x{size[1]}", data, Picture(size, pixels={(0, 0): WHITE}, off_by=4))
    for size in ((1, 4096 * 4096 + 1), (4096 * 4096 + 1, 1), (8192, 2049)):
        yield given(f"PNG of {size[0]}x{size[1]}", png(header(*size, 1, 0), pixels(b"")), TOO_LARGE)


def sequences() -> Iterator[Case]:
    """Of many pictures the first is shown, and the others are not decoded."""
    others = [Image.new("RGB", (32, 16), shade) for shade in (BLACK, BLUE)]

    def apng(count: int) -> bytes:
        control = functools.partial(struct.pack, ">IIIIIHHBB")
        frames, number = b"", 1
        packed = zlib.compress((b"\0" + bytes(96)) * 16)
        for _ in range(count):
            frames += chunk(b"fcTL", control(number, 32, 16, 0, 0, 1, 10, 0, 0))
            frames += chunk(b"fdAT", struct.pack(">I", number + 1) + packed)
            number += 2
        first = chunk(b"acTL", struct.pack(">II", count + 1, 0)) + chunk(b"fcTL", control(0, 32, 16, 0, 0, 1, 10, 0, 0))
        return sample("PNG")[:33] + first + sample("PNG")[33:-12] + frames + chunk(b"IEND")

    def animated(count: int) -> bytes:
        still = sample("WEBP")
        size = struct.pack("<I", 31)[:3] + struct.pack("<I", 15)[:3]
        frame = bytes(6) + size + b"\x0a\0\0\0" + still[12:]
        return riff((b"VP8X", b"\2\0\0\0" + size), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * count)

    for count in (1, 5000):
        yield Case(f"APNG of {count} more frames", functools.partial(apng, count), WHOLE)
        yield Case(f"WebP of {count} frames", functools.partial(animated, count), WHOLE)
    for count in (0, 2**31 - 1, 2**32 - 1):
        data = sample("PNG")
        control = chunk(b"acTL", struct.pack(">II", count, 0))
        yield given(f"APNG that says {count} frames", data[:33] + control + data[33:], replace(WHOLE, or_refused=True))
    mpo = encoded(quarters(), "MPO", save_all=True, append_images=others, quality=95, subsampling=0)
    yield given("MPO", mpo, NEARLY)
    yield given("MPO cut off in its second picture", mpo[: len(sample("JPEG")) + 400], replace(NEARLY, or_refused=True))
    yield given(
        "MPO of 2^32 pictures",
        mpo.replace(b"\x01\xb0\x04\0\1\0\0\0\3\0\0\0", b"\x01\xb0\x04\0\1\0\0\0\xff\xff\xff\xff"),
        replace(NEARLY, or_refused=True),
    )


def flips() -> Iterator[Case]:
    """A few bytes of good files changed, deleted and put in; half of them with sums that are right again."""
    generator = random.Random(1)
    originals = {
        f"{form} in {mode}": noise(form, mode)
        for form, names in {"PNG": "RGB RGBA LA P 1", "JPEG": "RGB L CMYK", "WEBP": "RGB RGBA"}.items()
        for mode in names.split()
    }
    originals |= {f"{form} with EXIF": with_exif(form, turned(6)) for form in ("PNG", "JPEG", "WEBP")}
    for name, data in originals.items():
        for number in range(25):
            yield given(f"damaged {name}, {number}", damaged(data, generator, sums=number % 2 == 0), ANYTHING)


def damaged(data: bytes, generator: random.Random, *, sums: bool) -> bytes:
    changed = bytearray(data)
    for _ in range(generator.choice([1, 1, 2, 8])):
        at = generator.randrange(min(len(changed), generator.choice([64, 200, len(changed)])))
        match generator.randrange(3):
            case 0:
                changed[at] ^= generator.randrange(1, 256)
            case 1:
                del changed[at : at + generator.randrange(1, 9)]
            case _:
                changed[at:at] = generator.randbytes(generator.randrange(1, 9))
    return with_right_sums(bytes(changed)) if sums else bytes(changed)


def with_right_sums(data: bytes) -> bytes:
    """So that damage to a PNG gets past its checksums."""
    at, chunks = 8, []
    while at + 12 <= len(data) and data.startswith(PNG):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            break
        chunks.append(chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return data[:8] + b"".join(chunks) + data[at:]
