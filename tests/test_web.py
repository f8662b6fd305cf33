"""The rules of one request that a local server without certificates cannot show."""

import io
import ssl
import urllib.error
import urllib.request

import pytest

from luminoth import web
from luminoth.web import RequestError, ask


@pytest.fixture
def redirections():
    (handler,) = [each for each in web.opener().handlers if isinstance(each, urllib.request.HTTPRedirectHandler)]
    return handler


def redirected(redirections, old, new, **headers):
    request = urllib.request.Request(old, headers=headers)
    return redirections.redirect_request(request, io.BytesIO(), 302, "Found", {}, new)


def test_redirections_keep_what_was_asked_for(redirections):
    request = redirected(redirections, "http://a/x", "https://b/y", Range="bytes=5-")
    assert (request.full_url, request.get_header("Range")) == ("https://b/y", "bytes=5-")


def test_redirections_never_lead_from_https_to_http(redirections):
    with pytest.raises(RequestError, match="https://a/x leads from https to http://b/y, where anyone") as caught:
        redirected(redirections, "https://a/x", "http://b/y")
    assert not caught.value.passing


def test_a_certificate_that_is_not_trusted_is_no_passing_trouble(monkeypatch):
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    refused.verify_message = "self-signed certificate"

    class Opener:
        def open(self, request, timeout):
            raise urllib.error.URLError(refused)

    monkeypatch.setattr(web, "opener", Opener)
    with pytest.raises(
        RequestError, match=r"not trusted \(self-signed certificate; SSL_CERT_FILE .*asking for"
    ) as caught:
        ask("https://a/x", 1.0)
    assert not caught.value.passing


@pytest.mark.parametrize(("value", "offline"), [("", 0), ("0", 0), ("false", 0), ("No", 0), ("1", 1), ("yes", 1)])
def test_offline(monkeypatch, value, offline):
    monkeypatch.setenv("LUMI_OFFLINE", value)
    assert web.is_offline() == bool(offline)
