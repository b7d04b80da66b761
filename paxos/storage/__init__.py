"""Durable logs: the port (``base``), the default (``segments``), and two more back ends.

Nothing here knows trio, a transport or what a ballot is good for. Where the code runs, and when, is
the runtime's business.
"""
