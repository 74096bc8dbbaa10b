"""Settings: the contents of config.yaml and of TWITTERSTREAM_* variables."""

from stream.config.exposure import safe_url as safe_url
from stream.config.loading import load as load
from stream.config.settings import AlertSettings as AlertSettings
from stream.config.settings import ArchiveSettings as ArchiveSettings
from stream.config.settings import JournalSettings as JournalSettings
from stream.config.settings import MastodonSettings as MastodonSettings
from stream.config.settings import MonitorSettings as MonitorSettings
from stream.config.settings import RetentionSettings as RetentionSettings
from stream.config.settings import Settings as Settings
from stream.config.settings import WebSettings as WebSettings
from stream.config.settings import XV1Settings as XV1Settings
from stream.config.settings import XV2Settings as XV2Settings
