"""What becomes of bytes that went wrong on the wire.

A frame with flipped bits is refused by the decoder, or is a message that nobody sent. No cluster is
safe from the second (Paxos trusts its voters; a transport keeps its frames whole), so none ever
arrives at a node that counts. But a replica never raises at one: there is one here to which nobody
listens.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from jepsen_like.sim.invariants import Violation
from jepsen_like.sim.streams import stream
from jepsen_like.sim.world import World
from paxos import codec
from paxos.core.errors import InvariantBroken
from paxos.core.events import Received
from paxos.core.ids import Instant, Voter
from paxos.core.messages import ClientAnswer, ClientMessage, PeerMessage
from paxos.core.records import Recovered

if TYPE_CHECKING:
    from jepsen_like.sim.setup import NodeSetup
    from paxos.core.replica import Replica


class Garbler:
    """Garbles frames, and sees what comes of them.

    Args:
        world: Time and the plan.
        setup: What replicas are made with.
        voter: Whom the replica that nobody listens to takes itself for.
    """

    def __init__(self, world: World, setup: NodeSetup, voter: Voter) -> None:
        self._world = world
        self._setup = setup
        self._voter = voter
        self._victim: Replica | None = None
        self._victims = 0

    def strikes(self, rng: random.Random) -> bool:
        """Whether a client's frame is garbled now."""
        rate = self._world.plan.corruption
        return rate > 0.0 and rng.random() < rate

    def peer_frame(self, rng: random.Random, sender: Voter, message: PeerMessage) -> None:
        """Garble a frame between nodes.

        Raises:
            Violation: The decoder, or the replica, raised what it never should.
        """
        frame = _garble(rng, codec.encode(message))
        try:
            garbled = codec.decode_peer(frame)
        except codec.ProtocolError:
            return
        except Exception as error:
            raise Violation(0, f"the decoder raised {error!r} at {frame!r}") from error
        self._feed(sender, garbled)

    def client_frame(self, rng: random.Random, message: ClientMessage) -> None:
        """Garble a frame from a client; a node reads no more of one than this."""
        frame = _garble(rng, codec.encode(message))
        try:
            codec.submission_header(frame)
            codec.decode_client(frame)
        except codec.ProtocolError:
            return
        except Exception as error:
            raise Violation(0, f"the decoder raised {error!r} at {frame!r}") from error

    def answer_frame(self, rng: random.Random, message: ClientAnswer) -> None:
        """Garble a frame to a client."""
        frame = _garble(rng, codec.encode(message))
        try:
            codec.decode_answer(frame)
        except codec.ProtocolError:
            return
        except Exception as error:
            raise Violation(0, f"the decoder raised {error!r} at {frame!r}") from error

    def _feed(self, sender: Voter, message: PeerMessage) -> None:
        now = Instant(self._world.now, int(self._world.now * 1e6))
        if self._victim is None:
            self._victims += 1
            self._victim = self._setup.factory(
                self._voter,
                self._setup.configurations(),
                Recovered(),
                self._setup.machines(),
                stream(self._world.seed, "victim", self._victims),
                codec.unpack_batch,
                now,
                limits=self._world.plan.limits,
                timing=self._world.plan.timing,
            )
        try:
            self._victim.handle(Received(sender, message), now)
        except InvariantBroken:
            self._victim = None  # it has been told of two values for one slot, say
        except Exception as error:
            raise Violation(0, f"a replica raised {error!r} at the garbled {message}") from error


def _garble(rng: random.Random, frame: bytes) -> bytes:
    """Flip a few bits, or lose or add some bytes at the end."""
    garbled = bytearray(frame)
    for _ in range(rng.choice((1, 1, 2, 8))):
        garbled[rng.randrange(len(garbled))] ^= 1 << rng.randrange(8)
    cut = rng.random()
    if cut < 0.1:
        return bytes(garbled[: rng.randrange(len(garbled))])
    return bytes(garbled) + (rng.randbytes(3) if cut > 0.9 else b"")
