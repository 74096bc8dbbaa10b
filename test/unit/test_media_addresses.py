"""examples/media_addresses.py: the media of recorded messages of each network."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRAMES = ROOT / "test/frames"


@pytest.fixture(scope="module")
def media_addresses() -> ModuleType:
    path = ROOT / "examples/media_addresses.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def messages(network: str) -> list[Any]:
    found = []
    for path in sorted((FRAMES / network).glob("*.json")):
        text = path.read_text(encoding="utf-8")
        try:
            found.append(json.loads(text))
        except ValueError:
            found += [json.loads(line) for line in text.splitlines() if line.strip()]
    return found


def test_pictures_and_videos_of_each_network_are_found(media_addresses: ModuleType) -> None:
    """Videos in their best MP4, no previews, and what is listed twice, once."""
    photo = {
        "type": "photo",
        "media_url_https": "https://pbs.example/1.jpg",
        "url": "https://t.co/1",
    }
    variants = [
        {"content_type": "application/x-mpegURL", "url": "https://video.example/list"},
        {"content_type": "video/mp4", "bitrate": 300, "url": "https://video.example/small.mp4"},
        {"content_type": "video/mp4", "bitrate": 900, "url": "https://video.example/large.mp4"},
    ]
    film = {"type": "video", "media_url_https": "https://pbs.example/still.jpg"}
    both = {"media": [photo, film | {"video_info": {"variants": variants}}]}
    old = {"entities": {"media": [photo]}, "extended_entities": both}
    wanted = ["https://pbs.example/1.jpg", "https://video.example/large.mp4"]
    assert list(media_addresses.addresses(old)) == wanted
    assert list(media_addresses.addresses({"retweeted_status": {"extended_tweet": old}})) == wanted
    new = {"data": {"id": "1"}, "includes": {"media": [
        {"type": "photo", "url": "https://pbs.example/1.jpg", "media_key": "3_1"},
        {"type": "video", "preview_image_url": "https://a.example/s", "variants": variants},
    ]}}  # fmt: skip
    assert list(media_addresses.addresses(new)) == wanted
    status = {
        "media_attachments": [
            {
                "type": "image",
                "url": "https://m.example/1.png",
                "preview_url": "https://m.example/s",
            }
        ],
        "card": {"type": "photo", "url": "https://else.example/"},
        "account": {"avatar": "https://m.example/avatar.png"},
    }
    assert list(media_addresses.addresses(status)) == ["https://m.example/1.png"]
    assert list(media_addresses.addresses({"reblog": status})) == ["https://m.example/1.png"]


def test_recorded_messages_are_read(media_addresses: ModuleType) -> None:
    numbers = {
        network: [len(list(media_addresses.addresses(each))) for each in messages(network)]
        for network in ("x_v1", "x_v2", "bluesky", "mastodon")
    }
    assert sum(numbers["bluesky"]) == 7
    assert sum(numbers["x_v2"]) == 1
