"""`<pose-editor>` in a real browser, on a page as strict as the playground, over a service that says what it shall."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from PIL import Image

from tests.elements.pages import Served, file_of, noise, page_of, served, violations

DESKTOP = {"viewport": {"width": 1000, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
NOSE, NECK, LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST = 0, 1, 5, 6, 7
PHOTO_SIZE = (320, 160)
DOUBLE_MILLISECONDS = 400  # of gestures.js


def found(*, hands: bool = False) -> dict[str, Any]:
    """What the service says of a photo with somebody of whom the legs are not seen."""
    body = [(160, 30), (160, 60), (140, 60), (130, 90), (125, 120), (180, 60), (190, 90), (195, 120)]
    head = [(155, 26), (165, 26), (150, 30), (170, 30)]
    joints = [*((x, y, 1) for x, y in body), *[(0, 0, 0)] * 6, *((x, y, 1) for x, y in head)]
    hand = [number for index in range(21) for number in (195 + index % 5, 121 + index, 1)] if hands else None
    person = {"pose_keypoints_2d": [number for joint in joints for number in joint], "hand_left_keypoints_2d": hand}
    return {"people": [person], "canvas_width": PHOTO_SIZE[0], "canvas_height": PHOTO_SIZE[1]}


@pytest.fixture
def service() -> Iterator[Served]:
    with served("pose-editor") as server:
        server.answer = {"created": 1, "keypoints": found(), "b64_json": ""}
        yield server


class Editor:
    """The element on its page, as whoever sees it."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def do(self, script: str, argument: Any = None) -> Any:
        """Runs a function of the element."""
        return self.page.evaluate(
            f"async (given) => ({script})(document.querySelector('pose-editor'), given)", argument
        )

    def find(self, headers: dict[str, str] | None = None, photo: Image.Image | None = None) -> str | None:
        """What `find` throws, in words."""
        file = io.BytesIO()
        (photo or Image.new("RGB", PHOTO_SIZE, (200, 120, 60))).save(file, "PNG")
        script = """async (editor, [bytes, headers]) => {
            const photo = new Blob([new Uint8Array(bytes)], { type: "image/png" });
            return editor.find(photo, headers).then(() => null, (error) => error.message);
        }"""
        said: str | None = self.do(script, [list(file.getvalue()), headers or {}])
        return said

    @property
    def pose(self) -> Any:
        return self.do("(editor) => editor.pose")

    @property
    def changes(self) -> int:
        changes: int = self.page.evaluate("window.changes")
        return changes

    @property
    def status(self) -> str:
        text: str = self.page.get_by_role("status").inner_text()
        return text

    def resize(self, width: int, height: int) -> None:
        self.do("(editor, [width, height]) => { editor.size = { width, height }; }", [width, height])

    def joint(self, joint: int, person: int = 0) -> tuple[float, float] | None:
        """In pixels of the picture."""
        x, y, confidence = self.pose["people"][person]["pose_keypoints_2d"][3 * joint : 3 * joint + 3]
        return (x, y) if confidence else None

    def on_screen(self, joint: int, person: int = 0) -> tuple[float, float]:
        place, pose = self.joint(joint, person), self.pose
        assert place is not None
        box = self.page.locator(".pose-editor__stage").bounding_box()
        x, y = place[0] / pose["canvas_width"], place[1] / pose["canvas_height"]
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def drag(self, start: tuple[float, float], by: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(start[0] + by[0] / 2, start[1] + by[1] / 2)
        mouse.move(start[0] + by[0], start[1] + by[1])
        mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    @property
    def focused(self) -> str:
        name: str = self.page.evaluate("document.activeElement.getAttribute('aria-label') ?? ''")
        return name


@contextmanager
def opened(chromium: Any, service: Served, **options: Any) -> Iterator[Editor]:
    with page_of(chromium, service.address, expected="status of 4", **(options or DESKTOP)) as page:
        page.evaluate("customElements.whenDefined('pose-editor').then(() => null)")
        page.evaluate(
            "window.changes = 0; document.querySelector('pose-editor').addEventListener('change', () => changes++)"
        )
        yield Editor(page)


@pytest.fixture
def editor(chromium: Any, service: Served) -> Iterator[Editor]:
    with opened(chromium, service) as editor:
        editor.resize(512, 512)
        yield editor


def near(place: tuple[float, float] | None, x: float, y: float, within: float = 1.5) -> bool:
    """Whether it is there, but for what a pixel of the screen may be."""
    return place is not None and abs(place[0] - x) <= within and abs(place[1] - y) <= within


@pytest.fixture
def standing(editor: Editor) -> Editor:
    """With a person who stands."""
    editor.do("(editor) => editor.standing()")
    return editor


class TestPose:
    def test_of_nobody_is_none(self, editor: Editor) -> None:
        assert editor.pose is None
        assert editor.status == "Nobody here yet"

    def test_of_a_standing_figure_is_as_large_as_the_picture(self, standing: Editor) -> None:
        pose = standing.pose
        assert (pose["canvas_width"], pose["canvas_height"], standing.changes) == (512, 512, 1)
        assert standing.status == "One person here"
        (person,) = pose["people"]
        assert person["pose_keypoints_2d"][2::3] == [1] * 18
        assert (person["hand_left_keypoints_2d"], person["hand_right_keypoints_2d"]) == (None, None)

    def test_that_is_set_is_fitted_and_no_change_of_a_persons(self, editor: Editor) -> None:
        editor.do("(editor, pose) => { editor.pose = pose; }", found(hands=True))
        assert near(editor.joint(NOSE), 1.6 * 160, 1.6 * 30 + 128)
        assert near(editor.joint(LEFT_WRIST), 1.6 * 195, 1.6 * 120 + 128)
        assert editor.changes == 0
        editor.do("(editor) => { editor.pose = null; }")
        assert editor.pose is None

    def test_fits_every_size(self, editor: Editor) -> None:
        editor.do("(editor, pose) => { editor.pose = pose; }", found())
        for width, height, x, y in ((320, 160, 160, 30), (160, 320, 80, 135), (640, 320, 320, 60), (320, 160, 160, 30)):
            editor.resize(width, height)
            assert (editor.pose["canvas_width"], editor.pose["canvas_height"]) == (width, height)
            assert near(editor.joint(NOSE), x, y, within=1e-6)
            box = editor.page.locator(".pose-editor__stage").bounding_box()
            assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.02)


class TestFind:
    def test_asks_for_what_the_photo_shows(self, editor: Editor, service: Served) -> None:
        assert editor.find({"Authorization": "Bearer sk-1"}) is None
        ((path, headers, body),) = service.asked
        assert (path, headers["Authorization"]) == ("/v1/poses", "Bearer sk-1")
        assert headers["Content-Type"].startswith("multipart/form-data")
        assert b'name="image"' in body
        assert b"\x89PNG" in body
        assert near(editor.joint(NOSE), 256, 176)
        assert editor.joint(8) is None
        assert (editor.changes, editor.status) == (1, "One person found")

    def test_sends_a_photo_that_is_too_large_as_a_smaller_file(self, editor: Editor, service: Served) -> None:
        editor.do("(editor) => { editor.maxBytes = 80000; }")
        photo = noise(*PHOTO_SIZE)
        assert len(file_of(photo)) > 100_000
        assert editor.find(photo=photo) is None
        ((_, _, body),) = service.asked
        assert b"image/webp" in body
        assert len(body) < 81_000

    def test_shows_the_photo_behind_until_it_is_hidden(self, editor: Editor) -> None:
        editor.find()
        photo = editor.page.locator(".pose-editor__photo")
        assert photo.get_attribute("href").startswith("data:image/png;base64,")
        box, stage = photo.bounding_box(), editor.page.locator(".pose-editor__stage").bounding_box()
        assert box["width"] == pytest.approx(stage["width"], abs=1)
        assert box["height"] == pytest.approx(stage["height"] / 2, abs=1)
        changes = editor.changes
        editor.click("Photo")
        assert not photo.is_visible()
        assert editor.changes == changes
        editor.click("Photo")
        assert photo.is_visible()

    @pytest.mark.parametrize(
        ("status", "code", "message", "says"),
        [
            (400, "no_pose_found", "image: no person was found in it.", "Nobody was found in this photo"),
            (413, "too_large", "image: at most 4194304 bytes are taken.", "at most 4194304 bytes"),
        ],
    )
    def test_says_what_went_wrong_and_keeps_what_was_there(
        self, status: int, code: str, message: str, says: str, standing: Editor, service: Served
    ) -> None:
        before = standing.pose
        service.refuse(status, code, message)
        thrown = standing.find()
        assert thrown is not None
        assert says in thrown
        assert standing.status.lower() == thrown.lower()
        assert (standing.pose, standing.changes) == (before, 1)

    def test_that_nobody_answers_is_said(self, chromium: Any, service: Served) -> None:
        with opened(chromium, service) as editor:
            editor.page.route("**/v1/poses", lambda route: route.fulfill(status=400, body="<html>"))
            assert "(400)" in (editor.find() or "")

    def test_can_be_undone(self, standing: Editor) -> None:
        before = standing.pose
        standing.find()
        standing.click("Undo")
        assert standing.pose == before
        assert not standing.page.locator(".pose-editor__photo").is_visible()


class TestMouse:
    def test_drags_a_joint_that_it_nearly_met(self, standing: Editor) -> None:
        before = standing.pose
        scale = standing.page.locator(".pose-editor__stage").bounding_box()["width"] / 512
        x, y = standing.on_screen(LEFT_WRIST)
        place = standing.joint(LEFT_WRIST)
        assert place is not None
        standing.drag((x + 12, y + 8), (40 * scale, -60 * scale))
        assert near(standing.joint(LEFT_WRIST), place[0] + 40, place[1] - 60)
        assert standing.joint(LEFT_ELBOW) == tuple(before["people"][0]["pose_keypoints_2d"][18:20])
        assert (standing.changes, standing.focused) == (2, "left wrist of person 1")
        assert standing.status == "Left wrist of person 1 moved"
        standing.click("Undo")
        assert standing.pose == before
        standing.click("Redo")
        assert near(standing.joint(LEFT_WRIST), place[0] + 40, place[1] - 60)

    def test_drags_an_arm_by_its_limb(self, standing: Editor) -> None:
        before = {joint: standing.joint(joint) for joint in (NECK, LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST)}
        (ax, ay), (bx, by) = standing.on_screen(LEFT_SHOULDER), standing.on_screen(LEFT_ELBOW)
        standing.drag(((ax + bx) / 2, (ay + by) / 2), (20, -30))
        after = {joint: standing.joint(joint) for joint in before}
        moved = {joint for joint in before if after[joint] != before[joint]}
        assert moved == {LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST}
        assert standing.status == "Left arm of person 1 moved"

    @pytest.mark.parametrize("with_shift", [False, True])
    def test_drags_a_person_by_the_trunk_or_with_shift(self, with_shift: bool, standing: Editor) -> None:
        before = standing.pose["people"][0]["pose_keypoints_2d"]
        (ax, ay), (bx, by) = standing.on_screen(NECK), standing.on_screen(11)
        start = standing.on_screen(LEFT_WRIST) if with_shift else ((ax + bx) / 2, (ay + by) / 2)
        if with_shift:
            standing.page.keyboard.down("Shift")
        standing.drag(start, (-30, 5))
        after = standing.pose["people"][0]["pose_keypoints_2d"]
        shifts = {round(new - old, 3) for old, new in zip(before[::3], after[::3], strict=True)}
        assert len(shifts) == 1
        assert shifts.pop() < -20
        assert standing.status == "Person 1 moved"

    def test_cannot_drag_beyond_the_picture(self, standing: Editor) -> None:
        standing.drag(standing.on_screen(LEFT_WRIST), (5000, 5000))
        assert standing.joint(LEFT_WRIST) == (512, 512)

    def test_escape_gives_a_drag_up(self, standing: Editor) -> None:
        before, mouse = standing.pose, standing.page.mouse
        mouse.move(*standing.on_screen(LEFT_WRIST))
        mouse.down()
        mouse.move(300, 300)
        standing.press("Escape")
        mouse.up()
        assert (standing.pose, standing.changes) == (before, 1)

    def test_removes_a_joint_that_is_clicked_twice(self, standing: Editor) -> None:
        standing.page.evaluate(
            "addEventListener('pointerdown', (event) => (window.downs ??= []).push(event.timeStamp))"
        )
        for _ in range(5):  # from a busy machine they may come too long after each other
            standing.page.mouse.dblclick(*standing.on_screen(LEFT_WRIST))
            first, second = standing.page.evaluate("window.downs.splice(0)")
            if second - first < DOUBLE_MILLISECONDS:
                break
            standing.page.wait_for_timeout(2 * DOUBLE_MILLISECONDS)
        assert standing.joint(LEFT_WRIST) is None
        assert (standing.status, standing.changes) == ("Left wrist of person 1 removed", 2)
        assert standing.focused == "left elbow of person 1"

    def test_two_joints_clicked_one_after_the_other_stay(self, standing: Editor) -> None:
        for joint in (LEFT_WRIST, LEFT_ELBOW, LEFT_WRIST):
            standing.page.mouse.click(*standing.on_screen(joint))
        standing.page.wait_for_timeout(500)
        standing.page.mouse.click(*standing.on_screen(LEFT_WRIST))  # long after
        assert standing.pose["people"][0]["pose_keypoints_2d"][2::3] == [1] * 18


class TestTouch:
    def touch(self, editor: Editor, start: tuple[float, float], by: tuple[float, float]) -> None:
        cdp = editor.page.context.new_cdp_session(editor.page)

        def send(kind: str, *points: tuple[float, float]) -> None:
            cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

        send("touchStart", start)
        for step in range(1, 9):
            send("touchMove", (start[0] + by[0] * step / 8, start[1] + by[1] * step / 8))
        send("touchEnd")

    def test_drags_a_joint_and_elsewhere_scrolls_the_page(self, chromium: Any, service: Served) -> None:
        phone = {**PHONE, "viewport": {"width": 360, "height": 560}}
        with opened(chromium, service, **phone) as editor:
            editor.resize(512, 512)
            editor.do("(editor) => editor.standing()")
            before = editor.joint(LEFT_WRIST)
            assert before is not None
            self.touch(editor, editor.on_screen(LEFT_WRIST), (20, -60))
            after = editor.joint(LEFT_WRIST)
            assert after is not None
            assert after[0] - before[0] > 20
            assert after[1] - before[1] < -60
            assert editor.page.evaluate("scrollY") == 0
            before_pose, box = editor.pose, editor.page.locator(".pose-editor__stage").bounding_box()
            self.touch(editor, (box["x"] + 20, box["y"] + box["height"] / 2), (0, -100))
            editor.page.wait_for_function("scrollY > 0")
            assert editor.pose == before_pose


class TestKeys:
    def test_reach_one_joint_by_tab_and_the_others_from_there(self, standing: Editor) -> None:
        standing.page.get_by_role("button", name="Reset").focus()
        standing.press("Tab")
        assert standing.focused == "nose of person 1"
        standing.press("PageDown", "PageDown")
        assert standing.focused == "right shoulder of person 1"
        standing.press("PageUp", "PageUp", "PageUp")
        assert standing.focused == "left ear of person 1"
        standing.press("Tab")
        assert "person 1" not in standing.focused
        standing.press("Shift+Tab")
        assert standing.focused == "left ear of person 1"

    def test_move_a_joint_and_say_where_it_is(self, standing: Editor) -> None:
        x, y = standing.joint(NOSE) or (0, 0)
        standing.page.get_by_role("button", name="nose of person 1").focus()
        standing.press("ArrowRight", "ArrowRight", "ArrowUp")
        assert near(standing.joint(NOSE), x + 8, y - 4, within=1e-6)
        assert standing.status == f"Nose of person 1: {round(x + 8)} across, {round(y - 4)} down"
        standing.press("Shift+ArrowLeft")
        assert near(standing.joint(NOSE), x - 32, y - 4, within=1e-6)
        assert standing.focused == "nose of person 1"
        standing.press("Control+z")
        assert near(standing.joint(NOSE), x, y, within=1e-6)
        standing.press("Control+Shift+z")
        assert near(standing.joint(NOSE), x - 32, y - 4, within=1e-6)

    def test_remove_a_joint_which_can_be_brought_back(self, standing: Editor) -> None:
        before = standing.joint(LEFT_WRIST)
        assert before is not None
        standing.page.get_by_role("button", name="left wrist of person 1").focus()
        standing.press("Delete")
        assert standing.joint(LEFT_WRIST) is None
        assert standing.focused == "left elbow of person 1"
        changes = standing.changes
        standing.page.get_by_label("Restore a joint").select_option("left wrist")
        assert near(standing.joint(LEFT_WRIST), *before)
        assert (standing.changes, standing.focused) == (changes + 1, "left wrist of person 1")
        assert standing.page.get_by_label("Restore a joint").is_disabled()

    def test_stay_in_the_editor_whatever_goes(self, standing: Editor) -> None:
        standing.page.get_by_role("button", name="left wrist of person 1").focus()
        standing.press("Delete")
        standing.page.get_by_label("Restore a joint").select_option("left wrist")
        standing.press("Control+z")
        assert (standing.joint(LEFT_WRIST), standing.focused) == (None, "left elbow of person 1")
        standing.press("Control+z")
        assert standing.joint(LEFT_WRIST) is not None
        standing.press("Control+z")
        assert standing.pose is None
        changes = standing.changes
        standing.press("Control+z")
        assert standing.changes == changes  # there was nothing before
        standing.press("Control+y")
        assert standing.pose is not None

    def test_remove_the_last_joint_and_with_it_the_person(self, standing: Editor) -> None:
        standing.page.get_by_role("button", name="nose of person 1").focus()
        standing.press(*["Delete"] * 18)
        assert standing.pose is None
        standing.click("Undo")
        assert len(standing.pose["people"]) == 1


class TestTools:
    def test_add_and_remove_people(self, standing: Editor) -> None:
        standing.click("Add person")
        assert len(standing.pose["people"]) == 2
        assert standing.status == "Person 2 added"
        kept = standing.pose["people"][0]
        standing.click("Remove person")
        assert standing.pose["people"] == [kept]
        standing.click("Remove person")
        assert standing.pose is None
        assert standing.page.get_by_role("button", name="Remove person").get_attribute("aria-disabled") == "true"

    def test_act_on_whoever_was_touched_last(self, standing: Editor) -> None:
        standing.click("Add person")
        second = standing.pose["people"][1]
        standing.page.mouse.click(*standing.on_screen(NOSE, person=0))
        standing.click("Remove person")
        assert standing.pose["people"] == [second]

    def test_mirror_a_person(self, standing: Editor) -> None:
        standing.drag(standing.on_screen(LEFT_WRIST), (30, -200))
        raised = standing.joint(LEFT_WRIST)
        standing.click("Mirror person")
        right = standing.joint(4)
        assert raised is not None
        assert right is not None
        assert right[1] == pytest.approx(raised[1])
        assert right[0] < 256 < raised[0]

    def test_reset_to_what_was_found(self, editor: Editor) -> None:
        editor.find()
        before = editor.pose
        editor.drag(editor.on_screen(NOSE), (50, 50))
        editor.click("Remove joint")
        editor.click("Reset")
        assert editor.pose == before

    def test_leave_hands_out(self, editor: Editor, service: Served) -> None:
        editor.find()
        assert not editor.page.get_by_role("button", name="Hands").is_visible()
        service.answer["keypoints"] = found(hands=True)
        editor.find()
        assert len(editor.pose["people"][0]["hand_left_keypoints_2d"]) == 63
        first = editor.pose["people"][0]["hand_left_keypoints_2d"][:2]
        editor.drag(editor.on_screen(LEFT_WRIST), (-60, 0))
        assert editor.pose["people"][0]["hand_left_keypoints_2d"][0] < first[0] - 20
        changes = editor.changes
        editor.click("Hands")
        assert editor.pose["people"][0]["hand_left_keypoints_2d"] is None
        assert editor.changes == changes + 1


@pytest.mark.parametrize(
    "options", [DESKTOP, PHONE, {**DESKTOP, "color_scheme": "dark"}], ids=["light", "phone", "dark"]
)
def test_everybody_can_use_it(options: dict[str, Any], chromium: Any, service: Served) -> None:
    """As far as axe can tell; and nothing is wider than the page."""
    service.answer["keypoints"] = found(hands=True)
    with opened(chromium, service, **options) as editor:
        editor.resize(512, 768)
        for prepare in (lambda: None, editor.find, lambda: editor.click("Add person")):
            prepare()
            assert editor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert violations(editor.page, "pose-editor") == []
