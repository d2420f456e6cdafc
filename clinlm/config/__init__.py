"""Resolvers, validation, runtime settings."""

from clinlm.config.overrides import accept_parameters, accept_roles

# Wherever a configuration is composed: in this process, in a launcher's, in a test.
accept_parameters()
accept_roles()
