"""The verbs about minirun itself and the machine it runs on."""
