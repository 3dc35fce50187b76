"""What can go wrong with a backup."""

from app.core.errors import Conflict, NotFound


class BackupNotFound(NotFound):
    """There is no such backup of this tenant, or it was not taken to its end."""

    code = "backup_not_found"


class BackupInProgress(Conflict):
    """One backup or restoration of a tenant at a time."""

    code = "backup_in_progress"


class BackupForeign(Conflict):
    """It is the backup of another tenant or of another installation.

    A tenant is restored from its own backups alone.
    """

    code = "backup_foreign"


class BackupTooNew(Conflict):
    """Newer code, or a newer PostgreSQL, took it than what would restore it.

    Restore it with that version or a newer one.
    """

    code = "backup_too_new"


class BackupDamaged(Conflict):
    """What the backup holds is not what was put into it; nothing was changed.

    Use another backup.
    """

    code = "backup_damaged"


class BackupKeysMissing(Conflict):
    """BACKUP_KEYS is not set.

    Generate a key and keep a copy elsewhere; docs/operations.md says how.
    """

    code = "backup_keys_missing"


class ExportNotFound(NotFound):
    """The tenant has no such export, or its time is over.

    Ask for a new one.
    """

    code = "export_not_found"


class ExportInProgress(Conflict):
    """One export of a tenant is made at a time.

    Wait until the one that is pending has ended.
    """

    code = "export_in_progress"


class ExportNotReady(Conflict):
    """There is no archive: it is still being made, or that failed.

    The export's ``state`` says which.
    """

    code = "export_not_ready"


class ArchiveDamaged(Conflict):
    """It is not an archive that an export wrote, or not a whole one; no tenant was made.

    Fetch the archive again.
    """

    code = "archive_damaged"
