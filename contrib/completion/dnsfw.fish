# Completion of dnsfw for fish. Written by hand: what click generates for fish changes with its
# version (8.4's is broken), so this speaks the protocol that its zsh script does, which does not.
function _dnsfw_completion
    set -l before (count (commandline -opc))
    set -l response (env _DNSFW_COMPLETE=zsh_complete COMP_WORDS=(commandline -cp) COMP_CWORD=$before dnsfw)
    # Three lines an item: kind, value, help.
    while test (count $response) -ge 3
        switch $response[1]
            case dir
                __fish_complete_directories $response[2]
            case file
                __fish_complete_path $response[2]
            case '*'
                if test $response[3] = _
                    echo $response[2]
                else
                    printf '%s\t%s\n' $response[2] $response[3]
                end
        end
        set -e response[1..3]
    end
end

complete --no-files --command dnsfw --arguments '(_dnsfw_completion)'
