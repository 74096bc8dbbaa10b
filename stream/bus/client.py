"""The client of NATS, which reconnects after every error."""

from nats.aio.client import Client
from nats.errors import Error
from nats.protocol.parser import PERMISSIONS_ERR


class ReconnectingClient(Client):
    """Reconnects also after an error that the server names, until the server takes it again.

    The library's own closes for ever then: after a change of the login or of limits, for example.
    """

    async def _process_err(self, err_msg: str) -> None:
        if PERMISSIONS_ERR in err_msg:  # of one subject; the connection stays
            await super()._process_err(err_msg)
            return
        error = Error(f"nats: {err_msg}")
        await self._process_op_err(error)
        await self._error_cb(error)
