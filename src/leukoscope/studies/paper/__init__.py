"""The paper's claims, remade and ruled on."""
