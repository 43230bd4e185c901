{
  "targets": [
    {
      "target_name": "culvert",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/addon/Release/culvert.node"],
          "action": ["npm", "run", "build:native"]
        }
      ]
    }
  ]
}
