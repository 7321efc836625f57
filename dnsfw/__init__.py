"""dnsfw: an egress firewall that understands names."""

__version__ = "0.1.0"
