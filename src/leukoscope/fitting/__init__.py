"""What is fitted after training: probabilities and the band, the gate, the rule for patients, a laboratory's head."""
