"""Tables of the tenant plane about documents."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    SmallInteger,
    Text,
    TextClause,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from app.core import clock
from app.core.stamps import Identified, active_while
from app.tenancy.models import TenantModel


class FileState(StrEnum):
    PENDING = "pending"
    AVAILABLE = "available"
    DELETING = "deleting"


class Processing(StrEnum):
    """What became of looking into a file that is available."""

    PENDING = "pending"
    PROCESSED = "processed"
    # It is what it should be, and holds no text that anybody can take out.
    UNSUPPORTED = "unsupported"
    FAILED = "failed"


class File(Identified, TenantModel):
    """A stored object. Its row is written before its bytes and outlives them.

    ``digest`` ("sha256:…") is the identity of the content; ``md5`` is kept for its users only.
    ``charged_bytes`` count against the quota from the first moment; so does, with ``holds_place``,
    the document that a pending file will become. ``processing_reason`` says why there is no text,
    ``detected_type`` what the bytes are, whatever their sender calls them.
    """

    __tablename__ = "files"
    __table_args__ = (
        Index(
            "uq_files_digest", "digest", unique=True, postgresql_where=text("state = 'available'")
        ),
    )

    key: Mapped[str] = mapped_column(Text(collation="C"), unique=True)
    state: Mapped[str] = mapped_column(Text, default=FileState.PENDING)
    digest: Mapped[str | None] = mapped_column(Text)
    md5: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)
    active: Mapped[bool] = active_while("state = 'available'")
    charged_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    holds_place: Mapped[bool] = mapped_column(default=False)
    processing: Mapped[str] = mapped_column(
        Text, default=Processing.PENDING, server_default=text("'pending'")
    )
    processing_reason: Mapped[str | None] = mapped_column(Text)
    detected_type: Mapped[str | None] = mapped_column(Text)


class FileText(TenantModel):
    """The text of a file, and its words as they are searched."""

    __tablename__ = "file_texts"
    __table_args__ = (Index("ix_file_texts_words", "words", postgresql_using="gin"),)

    file_id: Mapped[UUID] = mapped_column(
        ForeignKey("files.id", ondelete="CASCADE"), primary_key=True
    )
    text: Mapped[str] = mapped_column(Text)
    words: Mapped[Any] = mapped_column(TSVECTOR)


def _listed(name: str, *columns: str | TextClause, **options: Any) -> Index:
    """Of what is not in the trash; see queries.listing."""
    options["postgresql_where"] = text("deleted_at IS NULL")
    return Index(f"ix_documents_{name}", *columns, **options)


class Document(Identified, TenantModel):
    """A name that somebody gave to some content; ``file``, type and size are its newest version's.

    ``version`` numbers the content. ``revision`` grows with every change of the row and is its
    ETag. ``folded_name`` is what lists are sorted and searched by. Several documents may share one
    file.
    """

    __tablename__ = "documents"
    __table_args__ = (
        _listed("created", "created_at", "id"),
        _listed("updated", "updated_at", "id"),
        _listed("name", "folded_name", "id"),
        _listed("size", "size", "id"),
        _listed("owner", "owner_id", "created_at", "id"),
        _listed(
            "content_type", "content_type", postgresql_ops={"content_type": "text_pattern_ops"}
        ),
        _listed("name_parts", text("name_parts(folded_name)"), postgresql_using="gin"),
        _listed("tags", "tags", postgresql_using="gin"),
        Index(
            "ix_documents_trash",
            "deleted_at",
            "id",
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
    )

    file_id: Mapped[UUID] = mapped_column(ForeignKey("files.id"), index=True)
    name: Mapped[str] = mapped_column(Text)
    folded_name: Mapped[str] = mapped_column(Text(collation="C"))
    content_type: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    owner_id: Mapped[UUID]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list)
    version: Mapped[int] = mapped_column(default=1)
    revision: Mapped[int] = mapped_column()
    deleted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    deleted_by: Mapped[UUID | None]
    active: Mapped[bool] = active_while("deleted_at IS NULL")

    file: Mapped[File] = relationship(lazy="joined", innerjoin=True)

    __mapper_args__ = {"version_id_col": revision}  # noqa: RUF012  # SQLAlchemy's own way

    @validates("name")
    def _fold(self, _key: str, name: str) -> str:
        self.folded_name = name.casefold()
        return name

    @property
    def etag(self) -> str:
        return str(self.revision)

    @property
    def digest(self) -> str | None:
        return self.file.digest

    @property
    def processing(self) -> str:
        return self.file.processing

    @property
    def processing_reason(self) -> str | None:
        return self.file.processing_reason

    @property
    def detected_type(self) -> str | None:
        return self.file.detected_type


class DocumentVersion(TenantModel):
    """What a document held at some time; the newest is what it holds now."""

    __tablename__ = "document_versions"

    document_id: Mapped[UUID] = mapped_column(
        ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    file_id: Mapped[UUID] = mapped_column(ForeignKey("files.id"), index=True)
    content_type: Mapped[str] = mapped_column(Text)
    created_by: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=clock.now)

    file: Mapped[File] = relationship(lazy="joined", innerjoin=True)

    @property
    def size(self) -> int | None:
        return self.file.size

    @property
    def digest(self) -> str | None:
        return self.file.digest


class Quota(TenantModel):
    """One row: what the tenant uses, kept by triggers, and its own limits where it has any.

    The tenant's role may only read it.
    """

    __tablename__ = "quota"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    used_bytes: Mapped[int] = mapped_column(BigInteger)
    used_documents: Mapped[int] = mapped_column(BigInteger)
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_documents: Mapped[int | None] = mapped_column(BigInteger)


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
