"""Settings: what may stand in config.yaml and in the environment."""

from stream.config.loading import load as load
from stream.config.settings import AlertSettings as AlertSettings
from stream.config.settings import ArchiveSettings as ArchiveSettings
from stream.config.settings import JournalSettings as JournalSettings
from stream.config.settings import MonitorSettings as MonitorSettings
from stream.config.settings import RetentionSettings as RetentionSettings
from stream.config.settings import Settings as Settings
from stream.config.settings import XV1Settings as XV1Settings
from stream.config.settings import XV2Settings as XV2Settings
from stream.config.urls import safe_url as safe_url
