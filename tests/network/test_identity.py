import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from zenso.errors import InputError, IntegrityError, StorageError
from zenso.network import Identity
from zenso.network.identity import is_signed


def test_a_key_comes_back_from_its_file(tmp_path):
    path = tmp_path / "node" / "key.pem"
    made = Identity.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read = Identity.load(path)
    assert (read.public_key, read.seed) == (made.public_key, made.seed)
    assert made.seed.hex() not in repr(made)


def test_a_key_is_never_overwritten(tmp_path):
    made = Identity.create(tmp_path / "key")
    with pytest.raises(InputError, match="already"):
        Identity.create(tmp_path / "key")
    assert Identity.load(tmp_path / "key").public_key == made.public_key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_may_use_is_refused(tmp_path, mode):
    path = tmp_path / "key"
    Identity.create(path)
    path.chmod(mode)
    with pytest.raises(StorageError, match="chmod 600"):
        Identity.load(path)


def test_what_holds_no_key_is_refused(tmp_path):
    path = tmp_path / "key"
    with pytest.raises(StorageError, match="make a key first"):
        Identity.load(path)
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"", b"rubbish", other):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(IntegrityError):
            Identity.load(path)
    with pytest.raises(InputError):
        Identity(bytes(31))


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Identity.create(tmp_path / "file" / "key")


def test_signatures_hold_for_their_message_and_key_only():
    one, other = Identity.generate(), Identity.generate()
    signature = one.sign(b"message")
    assert is_signed(b"message", signature, one.public_key)
    assert not is_signed(b"another", signature, one.public_key)
    assert not is_signed(b"message", signature, other.public_key)
    assert not is_signed(b"message", os.urandom(64), one.public_key)
    assert not is_signed(b"message", b"", b"")
