"""Tables of the tenant plane about documents."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.stamps import Identified, active_while
from app.tenancy.models import TenantModel


class FileState(StrEnum):
    PENDING = "pending"
    AVAILABLE = "available"
    DELETING = "deleting"


class File(Identified, TenantModel):
    """A stored object. Its row is written before its bytes and outlives them.

    ``digest`` ("sha256:…") is the identity of the content; ``md5`` is kept for its users only.
    """

    __tablename__ = "files"
    __table_args__ = (
        Index(
            "uq_files_digest", "digest", unique=True, postgresql_where=text("state = 'available'")
        ),
    )

    key: Mapped[str] = mapped_column(Text, unique=True)
    state: Mapped[str] = mapped_column(Text, default=FileState.PENDING)
    digest: Mapped[str | None] = mapped_column(Text)
    md5: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)
    active: Mapped[bool] = active_while("state = 'available'")


class Document(Identified, TenantModel):
    """A name that somebody gave to a file. Several documents may share one file."""

    __tablename__ = "documents"

    file_id: Mapped[UUID] = mapped_column(ForeignKey("files.id"), index=True)
    name: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str] = mapped_column(Text)
    owner_id: Mapped[UUID]
    active: Mapped[bool] = mapped_column(default=True)

    file: Mapped[File] = relationship(lazy="joined", innerjoin=True)

    @property
    def size(self) -> int | None:
        return self.file.size

    @property
    def digest(self) -> str | None:
        return self.file.digest


class UploadState(StrEnum):
    OPEN = "open"
    VERIFYING = "verifying"
    COMPLETED = "completed"
    FAILED = "failed"


class Upload(Identified, TenantModel):
    """Bytes that a client sends to the store itself; they fill the file that has the same id.

    ``size`` and ``digest`` are what the client announced. ``store_id`` and ``part_size`` are there
    where they come in parts. ``failure`` is the code of what last went wrong.
    """

    __tablename__ = "uploads"

    owner_id: Mapped[UUID]
    name: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str | None] = mapped_column(Text)
    store_id: Mapped[str | None] = mapped_column(Text)
    part_size: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text, default=UploadState.OPEN)
    failure: Mapped[str | None] = mapped_column(Text)
    document_id: Mapped[UUID | None]
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    active: Mapped[bool] = active_while("state IN ('open', 'verifying')")

    @property
    def part_count(self) -> int:
        return 0 if self.part_size is None else -(-self.size // self.part_size)

    def size_of_part(self, number: int) -> int:
        """The last has what is left."""
        part_size = self.part_size or 0
        return min(part_size, self.size - (number - 1) * part_size)
