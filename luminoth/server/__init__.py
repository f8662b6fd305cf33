"""The web page and the JSON API: `app` puts them together, `serving` runs them, `batching` feeds the network."""
